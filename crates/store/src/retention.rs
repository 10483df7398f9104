//! Where the log begins, what was archived, and who still reads.

use quivive_delivery::retention::{Anchor, Filed, Shelf, Signature};
use quivive_delivery::{BoxFuture, Fault, Value, Write};

use crate::rows::Cells;
use crate::{Database, int};

/// What [`filed`] reads, in its order.
macro_rules! archive_columns {
    () => {
        "from_pos, to_pos, chain, recorded_until, file, digest, events"
    };
}

statements! {
    ANCHOR = "SELECT pos, chain, key_id, signature FROM anchor WHERE one = 1";

    /// A subscription, a lane, the index, and the attempts whose first event recovery would look for.
    FLOOR = "SELECT MIN(pos) FROM (SELECT MIN(position) AS pos FROM subscription \
        UNION ALL SELECT MIN(done) FROM lane \
        UNION ALL SELECT pos FROM search_head \
        UNION ALL SELECT MIN(after_pos) FROM open_attempt) AS readers";

    NEWEST = concat!("SELECT ", archive_columns!(), " FROM archive ORDER BY from_pos DESC LIMIT 1");

    ARCHIVES = concat!(
        "SELECT ", archive_columns!(), " FROM archive WHERE from_pos > $1 ORDER BY from_pos LIMIT $2"
    );

    ADD_ARCHIVE = concat!(
        "INSERT INTO archive (", archive_columns!(), ") VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
    );

    REMOVE_ARCHIVE = "DELETE FROM archive WHERE from_pos = $1";

    /// Misses where somebody still reads from below. Attempts are not asked again: one that was opened since begins at what
    /// was the head then, far above what is old enough to go.
    MOVE_ANCHOR = "UPDATE anchor SET pos = $1, chain = $2, key_id = $3, signature = $4 WHERE one = 1 AND pos = $5 \
        AND NOT EXISTS (SELECT 1 FROM subscription WHERE position < $1) \
        AND NOT EXISTS (SELECT 1 FROM lane WHERE done < $1) \
        AND NOT EXISTS (SELECT 1 FROM search_head WHERE pos < $1)";

    CUT_EVENTS = "DELETE FROM event WHERE pos <= $1";

    CUT_INDEX = "DELETE FROM search WHERE pos <= $1";

    @pairs

    /// The last position of the oldest part that can go as a whole. Differs because SQLite has no partitions.
    OLDEST_PART = "SELECT NULL", "SELECT MIN(upto) FROM event_partition";

    /// Differs like [`OLDEST_PART`].
    DROP_EVENTS = "DELETE FROM event WHERE pos <= $1", "SELECT drop_events($1)";
}

impl Shelf for Database {
    fn anchor(&self) -> BoxFuture<'_, Result<Anchor, Fault>> {
        self.single(ANCHOR, Vec::new(), |cells| {
            let (position, chain) = (cells.take("anchor.pos")?, cells.take("anchor.chain")?);
            let key_id: Option<String> = cells.take("anchor.key_id")?;
            let bytes: Option<Vec<u8>> = cells.take("anchor.signature")?;
            let signature = key_id.zip(bytes);
            Ok(Anchor {
                position,
                chain,
                signature: signature.map(|(key_id, bytes)| Signature { key_id, bytes }),
            })
        })
    }

    fn floor(&self) -> BoxFuture<'_, Result<u64, Fault>> {
        self.single(FLOOR, Vec::new(), |cells| cells.take("floor"))
    }

    fn newest_archive(&self) -> BoxFuture<'_, Result<Option<Filed>, Fault>> {
        self.one(NEWEST, Vec::new(), filed)
    }

    fn archives(&self, above: u64, limit: u32) -> BoxFuture<'_, Result<Vec<Filed>, Fault>> {
        self.all(ARCHIVES, vec![int(above), limit.into()], filed)
    }

    fn add_archive(&self, filed: &Filed) -> Write {
        Write::one(
            ADD_ARCHIVE,
            vec![
                int(filed.from),
                int(filed.to),
                filed.chain.into(),
                filed.recorded_until.into(),
                filed.file.clone().into(),
                filed.digest.into(),
                int(filed.events),
            ],
        )
    }

    fn remove_archive(&self, filed: &Filed) -> Write {
        Write::one(REMOVE_ARCHIVE, vec![int(filed.from)])
    }

    fn oldest_part(&self) -> BoxFuture<'_, Result<Option<u64>, Fault>> {
        self.single(self.spoken(OLDEST_PART), Vec::new(), |cells| {
            cells.take("event_partition.upto")
        })
    }

    fn cut(&self, from: u64, to: &Anchor) -> Vec<Write> {
        vec![
            move_anchor(from, to),
            // Positions are dense: anything else means that the log was changed by hand.
            Write::rows(CUT_EVENTS, vec![int(to.position)], to.position - from),
            self.cut_index(to.position),
        ]
    }

    fn cut_index(&self, upto: u64) -> Write {
        Write::any(CUT_INDEX, vec![int(upto)])
    }

    fn drop_part(&self, from: u64, to: &Anchor) -> Vec<Write> {
        let drop = self.spoken(DROP_EVENTS);
        vec![
            move_anchor(from, to),
            Write::any(drop, vec![int(to.position)]),
        ]
    }
}

fn move_anchor(from: u64, to: &Anchor) -> Write {
    let (key_id, signature) = match &to.signature {
        Some(Signature { key_id, bytes }) => (key_id.clone().into(), bytes.clone().into()),
        None => (Value::Null, Value::Null),
    };
    let anchor = vec![
        int(to.position),
        to.chain.into(),
        key_id,
        signature,
        int(from),
    ];
    Write::one(MOVE_ANCHOR, anchor)
}

fn filed(cells: &mut Cells) -> Result<Filed, Fault> {
    Ok(Filed {
        from: cells.take("archive.from_pos")?,
        to: cells.take("archive.to_pos")?,
        chain: cells.take("archive.chain")?,
        recorded_until: cells.take("archive.recorded_until")?,
        file: cells.take("archive.file")?,
        digest: cells.take("archive.digest")?,
        events: cells.take("archive.events")?,
    })
}
