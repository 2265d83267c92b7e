-- +goose Up

-- Settings that all instances share. A writer locks the row 'lock', so that one instance writes at a
-- time.
CREATE TABLE IF NOT EXISTS scanstats_setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

INSERT INTO scanstats_setting (name, value) VALUES ('lock', '') ON CONFLICT DO NOTHING;

-- The scenes. Two ids have no row: 0, all scenes together, and 1, no scene.
CREATE TABLE IF NOT EXISTS scanstats_scene (
    id INTEGER NOT NULL PRIMARY KEY,
    scene TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    label_group TEXT NOT NULL
);

-- Counts by hour; start is its beginning, in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_hour (
    start BIGINT NOT NULL,
    scene INTEGER NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    unique_users BIGINT NOT NULL,
    unfollows BIGINT NOT NULL,
    PRIMARY KEY (start, scene)
);

-- Counts by day; day is the date in the time zone of the database, in days since 1970-01-01.
-- unfollowed_n is the number of the new followers of the day who unfollowed within n times 24 hours.
CREATE TABLE IF NOT EXISTS scanstats_day (
    day INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    unique_users BIGINT NOT NULL,
    unfollows BIGINT NOT NULL,
    unfollowed_1 BIGINT NOT NULL,
    unfollowed_7 BIGINT NOT NULL,
    unfollowed_30 BIGINT NOT NULL,
    PRIMARY KEY (day, scene)
);

-- The number of users who scanned on that day and, the time before, on previous_day (0 for none). The
-- unique users of a range of days are those whose day is in the range and whose previous_day is before it.
CREATE TABLE IF NOT EXISTS scanstats_unique (
    day INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    previous_day INTEGER NOT NULL,
    users BIGINT NOT NULL,
    PRIMARY KEY (day, scene, previous_day)
);

-- The history of a user: person is a keyed hash of the OpenID, last_at the time of the last event,
-- unfollowed_at that of the first unfollow in the history, 0 for none, in Unix seconds. The history has
-- 13 bytes per record: kind, time (8 bytes), scene (4 bytes), big-endian.
CREATE TABLE IF NOT EXISTS scanstats_person (
    person BYTEA NOT NULL PRIMARY KEY,
    last_at BIGINT NOT NULL,
    unfollowed_at BIGINT NOT NULL,
    history BYTEA NOT NULL
);

-- Recorded events, to detect duplicates: the Unix seconds (4 bytes, big-endian) and a keyed hash.
CREATE TABLE IF NOT EXISTS scanstats_event (
    id BYTEA NOT NULL PRIMARY KEY
);
