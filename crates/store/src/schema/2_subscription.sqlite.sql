-- How a subscription is, as a whole: see `Condition` of the delivery engine.
ALTER TABLE subscription ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
