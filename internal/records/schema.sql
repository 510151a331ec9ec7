-- The records of a state directory. Times are nanoseconds since 1970 by the
-- machine's clock, for people; order is always by a number that only grows, so
-- that a clock that jumps changes nothing.

-- The index of runs: what lists and explanations need without reading journals.
CREATE TABLE runs (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  id          TEXT NOT NULL UNIQUE,
  project     TEXT NOT NULL,             -- absolute path of its root
  pipeline    TEXT NOT NULL,
  started     INTEGER NOT NULL,
  status      TEXT NOT NULL DEFAULT '',  -- empty until the run has ended
  exit_code   INTEGER,
  duration_ms REAL NOT NULL DEFAULT 0,
  steps       INTEGER NOT NULL DEFAULT 0,
  by_status   TEXT NOT NULL DEFAULT '{}' -- JSON object: how many steps ended how
) STRICT;
CREATE INDEX runs_project ON runs (project, seq);
CREATE INDEX runs_open ON runs (id) WHERE status = '';

-- How each step of each run ended.
CREATE TABLE step_ends (
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  project     TEXT NOT NULL,
  pipeline    TEXT NOT NULL,
  step        TEXT NOT NULL,
  run         TEXT NOT NULL,
  status      TEXT NOT NULL,
  key         BLOB,                      -- cache key; NULL where there was none
  duration_ms REAL NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX step_ends_step ON step_ends (project, step, seq);
CREATE INDEX step_ends_passed ON step_ends (project, pipeline, step, seq) WHERE status = 'passed';
CREATE INDEX step_ends_run ON step_ends (run);

-- Results that may be used again. A row is written last: after the snapshot is
-- on the disk and recorded by its runner.
CREATE TABLE entries (
  key         BLOB PRIMARY KEY,
  seq         INTEGER NOT NULL UNIQUE,   -- order of birth
  project     TEXT NOT NULL,
  pipeline    TEXT NOT NULL,
  step        TEXT NOT NULL,
  runner      TEXT NOT NULL,
  ref         TEXT NOT NULL,             -- the snapshot
  run         TEXT NOT NULL,             -- the run that made it
  born        INTEGER NOT NULL,
  duration_ms REAL NOT NULL,             -- of the command, which a hit saves
  material    BLOB NOT NULL,             -- the key's pre-image, without the inputs
  inputs      BLOB,                      -- digest of its list of inputs
  log_bytes   INTEGER NOT NULL,
  log_digest  BLOB,                      -- SHA-256 of the step's log
  used        INTEGER NOT NULL,          -- order of the last use
  used_at     INTEGER NOT NULL,
  uses        INTEGER NOT NULL DEFAULT 0,
  pinned      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX entries_step ON entries (project, pipeline, step, seq);
CREATE INDEX entries_used ON entries (pinned, used, seq DESC, runner, ref);
CREATE INDEX entries_ref ON entries (runner, ref);
CREATE INDEX entries_inputs ON entries (inputs);

-- What is left of entries that are gone, so that this can be explained.
CREATE TABLE tombstones (
  key         BLOB PRIMARY KEY,
  seq         INTEGER NOT NULL UNIQUE,
  project     TEXT NOT NULL,
  pipeline    TEXT NOT NULL,
  step        TEXT NOT NULL,
  run         TEXT NOT NULL,
  born        INTEGER NOT NULL,
  material    BLOB NOT NULL,
  inputs      BLOB,
  gone        INTEGER NOT NULL,
  rule        TEXT NOT NULL              -- by which rule it went
) STRICT, WITHOUT ROWID;
CREATE INDEX tombstones_step ON tombstones (project, pipeline, step, seq);
CREATE INDEX tombstones_inputs ON tombstones (inputs);

-- Lists of inputs (paths, modes, digests), compressed, by their digest.
CREATE TABLE inputs (
  digest BLOB PRIMARY KEY,
  list   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Snapshots of failed steps that are kept to be looked into.
CREATE TABLE failures (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  runner   TEXT NOT NULL,
  ref      TEXT NOT NULL,
  project  TEXT NOT NULL,
  pipeline TEXT NOT NULL,
  step     TEXT NOT NULL,
  run      TEXT NOT NULL,
  at       INTEGER NOT NULL,
  UNIQUE (runner, ref)
) STRICT;

-- What kept snapshots occupy on the disk: parts, and who holds them.
CREATE TABLE parts (
  runner TEXT NOT NULL,
  id     TEXT NOT NULL,
  bytes  INTEGER NOT NULL,
  PRIMARY KEY (runner, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE holds (
  runner TEXT NOT NULL,
  ref    TEXT NOT NULL,
  part   TEXT NOT NULL,
  PRIMARY KEY (runner, ref, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_part ON holds (runner, part);

-- Kept snapshots of the layer store (package snapshot), and their layers.
CREATE TABLE layers (
  id       TEXT PRIMARY KEY,
  bytes    INTEGER NOT NULL,
  files    BLOB NOT NULL,                -- digest of paths, types, modes, sizes and times
  contents BLOB NOT NULL,                -- digest of everything
  modes    BLOB NOT NULL,                -- of a copy: see snapshot.Copy
  doomed   INTEGER NOT NULL DEFAULT 0    -- being removed: no snapshot has it
) STRICT, WITHOUT ROWID;
CREATE INDEX layers_doomed ON layers (id) WHERE doomed = 1;
CREATE TABLE snapshots (
  ref TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_layers (
  ref   TEXT NOT NULL REFERENCES snapshots (ref) ON DELETE CASCADE,
  place INTEGER NOT NULL,                -- 0 is the topmost
  layer TEXT NOT NULL REFERENCES layers (id),
  PRIMARY KEY (ref, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshot_layers_layer ON snapshot_layers (layer);

-- Digests of files of this machine, so that they are read once.
CREATE TABLE digests (
  path   TEXT PRIMARY KEY,
  stamp  BLOB NOT NULL,                  -- the stat that the digest is of
  digest BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Snapshots that nobody needs any more, until their runners have reaped them.
CREATE TABLE leaving (
  runner TEXT NOT NULL,
  ref    TEXT NOT NULL,
  bytes  INTEGER NOT NULL,               -- of the parts that only it held
  PRIMARY KEY (runner, ref)
) STRICT, WITHOUT ROWID;

-- The last number that was given to anything in the cache, by order of birth,
-- use or end.
CREATE TABLE sequence (
  last INTEGER NOT NULL
) STRICT;
INSERT INTO sequence VALUES (0);
