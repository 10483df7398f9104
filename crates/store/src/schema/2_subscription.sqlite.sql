-- How a subscription is, as a whole: see `Condition` of the delivery engine.
ALTER TABLE subscription ADD COLUMN paused  INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
ALTER TABLE subscription ADD COLUMN running INTEGER NOT NULL DEFAULT 0 CHECK (running IN (0, 1));
ALTER TABLE subscription ADD COLUMN suspect INTEGER NOT NULL DEFAULT 0;
ALTER TABLE subscription ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0;
