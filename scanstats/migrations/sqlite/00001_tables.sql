-- +goose Up

-- Settings that all instances share. A writer locks the row 'lock', so that one instance writes at a
-- time.
CREATE TABLE IF NOT EXISTS scanstats_setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

INSERT OR IGNORE INTO scanstats_setting (name, value) VALUES ('lock', '');

-- The scenes. Two ids have no row: 0, all scenes together, and 1, no scene.
CREATE TABLE IF NOT EXISTS scanstats_scene (
    id INTEGER NOT NULL PRIMARY KEY,
    scene TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    label_group TEXT NOT NULL
) WITHOUT ROWID;

-- Counts by hour; start is its beginning, in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_hour (
    start INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    scans INTEGER NOT NULL,
    new_followers INTEGER NOT NULL,
    unique_users INTEGER NOT NULL,
    unfollows INTEGER NOT NULL,
    PRIMARY KEY (start, scene)
) WITHOUT ROWID;

-- Counts by day; day is the date in the time zone of the database, in days since 1970-01-01.
-- unfollowed_n is the number of the new followers of the day who unfollowed within n times 24 hours.
CREATE TABLE IF NOT EXISTS scanstats_day (
    day INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    scans INTEGER NOT NULL,
    new_followers INTEGER NOT NULL,
    unique_users INTEGER NOT NULL,
    unfollows INTEGER NOT NULL,
    unfollowed_1 INTEGER NOT NULL,
    unfollowed_7 INTEGER NOT NULL,
    unfollowed_30 INTEGER NOT NULL,
    PRIMARY KEY (day, scene)
) WITHOUT ROWID;

-- The number of users who scanned on that day and, the time before, on previous_day (0 for none). The
-- unique users of a range of days are those whose day is in the range and whose previous_day is before it.
CREATE TABLE IF NOT EXISTS scanstats_unique (
    day INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    previous_day INTEGER NOT NULL,
    users INTEGER NOT NULL,
    PRIMARY KEY (day, scene, previous_day)
) WITHOUT ROWID;

-- The history of a user: person is a keyed hash of the OpenID, last_at the time of the last event,
-- unfollowed_at that of the first unfollow in the history, 0 for none, in Unix seconds. The history has
-- 13 bytes per record: kind, time (8 bytes), scene (4 bytes), big-endian.
CREATE TABLE IF NOT EXISTS scanstats_person (
    person BLOB NOT NULL PRIMARY KEY,
    last_at INTEGER NOT NULL,
    unfollowed_at INTEGER NOT NULL,
    history BLOB NOT NULL
) WITHOUT ROWID;

-- Recorded events, to detect duplicates: the Unix seconds (4 bytes, big-endian) and a keyed hash.
CREATE TABLE IF NOT EXISTS scanstats_event (
    id BLOB NOT NULL PRIMARY KEY
) WITHOUT ROWID;
