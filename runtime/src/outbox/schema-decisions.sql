-- What was decided on the command line and is not in the audit log yet, see decisions.rs. Whatever the version: a database
-- that lacks the table gets it, a daemon of before leaves it alone.
create table if not exists decision (
  id       integer primary key,
  at       integer not null,   -- ms since 1970
  who      text not null,
  decision text not null,      -- retry, hold, release, drop
  delivery integer not null
);
