-- One row for each answered image that was ever routed. It outlives the image: who sends it again after it was
-- purged does not cause a second result.
create table image (
  key      text primary key,   -- as in the spool
  source   text not null,      -- SOP Instance UID
  digest   text not null,      -- of its contents
  answered integer not null,   -- when it was noted, ms since 1970
  parked   integer not null    -- given up for now: another answer may come under the same key
) without rowid;
create index image_by_contents on image(source, digest);

-- One object for one destination.
create table delivery (
  id              integer primary key,
  key             text not null,
  source          text not null,
  kind            text not null,            -- sr, seg, sc
  class           text not null,            -- SOP Class UID
  object          text not null,            -- SOP Instance UID
  destination     text not null,
  via             text not null,            -- who gets it: the destination, or who stands in for it
  urgent          integer not null,
  held            integer not null default 0,
  state           text not null default 'waiting',
  done            integer not null default 0,
  tries           integer not null default 0,
  asks            integer not null default 0,
  created         integer not null,
  next            integer not null,         -- nothing is due before
  sent            integer,
  transaction_uid text,
  reason          text,
  unique (destination, object)
);
create index delivery_by_queue on delivery(via, state, urgent desc, id);
create index delivery_by_image on delivery(key, done);
create index delivery_undone on delivery(created) where done = 0;

-- Storage commitment: what was asked under which transaction. A report may come after we asked again.
create table asked (
  transaction_uid text not null,
  delivery        integer not null,
  at              integer not null,
  primary key (transaction_uid, delivery)
) without rowid;

create table link (
  destination text primary key,
  failures    integer not null,
  next        integer not null,
  down_since  integer,
  reason      text
) without rowid;
