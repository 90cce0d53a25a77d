-- What version 2 adds to schema.sql: a history, and deliveries that are counted as they change.

-- For the history; null until the answer was read for it.
alter table image add column received integer;   -- when it arrived, ms since 1970
alter table image add column waited integer;     -- ms from there to the answer
alter table image add column outcome text;       -- analysed, parked, or why it was not analysed
create index image_by_arrival on image(received, outcome, waited);

-- Findings of each day (days since 1970) by the bundle that spoke, added up.
create table seen (
  day      integer not null,
  name     text not null,
  bundle   text not null,       -- digest
  images   integer not null,
  positive integer not null,
  total    real not null,       -- sum of the probabilities
  primary key (day, name, bundle)
) without rowid;

create index delivery_open on delivery(id) where done = 0;
create index delivery_by_age on delivery(created);

-- How many deliveries there are of each sort, so that nobody has to count them.
create table tally (
  state text not null,
  done  integer not null,
  held  integer not null,
  n     integer not null,
  primary key (state, done, held)
) without rowid;
insert into tally select state, done, held, count(*) from delivery group by state, done, held;
create trigger delivery_comes after insert on delivery begin
  insert into tally values(new.state, new.done, new.held, 1)
    on conflict do update set n = n + 1;
end;
create trigger delivery_goes after delete on delivery begin
  update tally set n = n - 1 where state = old.state and done = old.done and held = old.held;
end;
create trigger delivery_changes after update of state, done, held on delivery
  when old.state <> new.state or old.done <> new.done or old.held <> new.held begin
  update tally set n = n - 1 where state = old.state and done = old.done and held = old.held;
  insert into tally values(new.state, new.done, new.held, 1)
    on conflict do update set n = n + 1;
end;
