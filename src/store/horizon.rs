//! Up to where the stream of records is settled: every transaction below has ended, whatever it wrote can be seen.
//!
//! A snapshot's `xmin` says so too, but for all databases of the server: a transaction that somebody leaves open in
//! another one would hold up our stream. So where anything is open, the locks tell whether it is here.

use tokio_postgres::Row;

use super::{Store, StoreError, error::column};

const SNAPSHOT: &str = "
    select pg_snapshot_xmin(snapshot)::text as xmin, pg_snapshot_xmax(snapshot)::text as xmax
    from pg_current_snapshot() as snapshot";

// The snapshot is the statement's: taken before the locks are read, and the locks are read once. A writer locks the
// table, then gets its number, then locks that. So one that is without a number in the list may have one already: then
// nothing is said about it. Prepared transactions have no process.
const OPEN_HERE: &str = "
    with lock as materialized (
        select pid, virtualtransaction, locktype, database, relation, transactionid, mode from pg_locks where granted
    ), here as (
        select oid from pg_database where datname = current_database()
    ), numbered as (
        select lock.virtualtransaction, lock.transactionid
        from lock left join pg_stat_activity as activity using (pid)
        where lock.locktype = 'transactionid' and lock.mode = 'ExclusiveLock'
            and (lock.pid is null or activity.datid = (select oid from here))
    )
    select pg_snapshot_xmin(snapshot)::text as xmin, pg_snapshot_xmax(snapshot)::text as xmax,
        array(select transactionid::text from numbered) as open,
        exists (
            select from lock
            where lock.locktype = 'relation' and lock.database = (select oid from here)
                and lock.relation = 'request_logs'::regclass
                and lock.mode not in ('AccessShareLock', 'RowShareLock', 'ShareLock')
                and lock.virtualtransaction not in (select virtualtransaction from numbered)
        ) as unnumbered
    from pg_current_snapshot() as snapshot";

impl Store {
    /// The number below which every transaction of this database has ended. Rows that are read afterwards are all
    /// there are below it.
    pub(super) async fn horizon(&self) -> Result<u64, StoreError> {
        let (xmin, xmax) = bounds(&self.one(SNAPSHOT).await?)?;
        if xmin == xmax {
            return Ok(xmax);
        }
        let row = self.one(OPEN_HERE).await?;
        let (xmin, xmax) = bounds(&row)?;
        if column(&row, "unnumbered")? {
            return Ok(xmin);
        }
        let open: Vec<&str> = column(&row, "open")?;
        let open = open.into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
        Ok(oldest(&open, xmax).max(xmin))
    }

    async fn one(&self, select: &str) -> Result<Row, StoreError> {
        let rows = self.rows(select, &[]).await?;
        rows.into_iter().next().ok_or_else(|| StoreError::Unreadable("no snapshot".to_owned()))
    }
}

fn bounds(row: &Row) -> Result<(u64, u64), StoreError> {
    Ok((number(column(row, "xmin")?)?, number(column(row, "xmax")?)?))
}

/// A transaction's number, which travels as text.
pub(super) fn number(text: &str) -> Result<u64, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable(format!("a transaction number: {text:?}")))
}

/// The lowest of these below `end`, or `end`. Locks know a number's lower half alone; what is open is never half a
/// circle away.
fn oldest(open: &[u64], end: u64) -> u64 {
    const CIRCLE: u64 = 1 << 32;
    let behind = |low: &u64| (end % CIRCLE + CIRCLE - low % CIRCLE) % CIRCLE;
    let farthest = open.iter().map(behind).filter(|distance| *distance < CIRCLE / 2).max();
    end.saturating_sub(farthest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_transaction_is_found_across_the_turn_of_its_number() {
        assert_eq!(oldest(&[], 100), 100);
        assert_eq!(oldest(&[97, 99, 100, 105], 100), 97, "100 and above came later");
        let turned = 5 * (1 << 32) + 3;
        assert_eq!(oldest(&[1, u64::from(u32::MAX)], turned), turned - 4);
        assert_eq!(oldest(&[4], turned), turned);
    }
}
