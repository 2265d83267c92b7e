-- +goose Up

-- One row for each thing that all instances must agree on. The row 'lock' is locked by whoever
-- writes, so that one instance writes at a time.
CREATE TABLE IF NOT EXISTS scanstats_setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

INSERT INTO scanstats_setting (name, value) VALUES ('lock', '') ON CONFLICT DO NOTHING;

-- What is counted by itself. Two ids have no row: 0, all scenes together, and 1, no scene.
CREATE TABLE IF NOT EXISTS scanstats_scene (
    id INTEGER NOT NULL PRIMARY KEY,
    scene TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    label_group TEXT NOT NULL
);

-- Counts by hour; start is its beginning in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_hour (
    start BIGINT NOT NULL,
    scene INTEGER NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    people BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    PRIMARY KEY (start, scene)
);

-- Counts by day; day is the date in the time zone of all instances, in days since 1970-01-01. Of the
-- followers who came on that day, left_n had left before n times 24 hours were over.
CREATE TABLE IF NOT EXISTS scanstats_day (
    day INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    people BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    left_1 BIGINT NOT NULL,
    left_7 BIGINT NOT NULL,
    left_30 BIGINT NOT NULL,
    PRIMARY KEY (day, scene)
);

-- How many people scanned on that day who had scanned before on previous_day, and not in between;
-- it is 0 for those who never had. Any range of days has as many people as come in it from a
-- previous_day before it.
CREATE TABLE IF NOT EXISTS scanstats_people (
    day INTEGER NOT NULL,
    scene INTEGER NOT NULL,
    previous_day INTEGER NOT NULL,
    people BIGINT NOT NULL,
    PRIMARY KEY (day, scene, previous_day)
);

-- On which days a person scanned: id is the hash of the OpenID and the scene (4 bytes, big-endian). Bit n
-- of days is the n-th day before last_day, before_day the last one before those 64 days, or 0; bit n of
-- hours is the n-th hour of last_day. A row without days is of somebody who left: hours is when, in Unix
-- seconds, last_day the day, and before_day 1 if nobody knew which scene had brought them. It goes after a day or two.
CREATE TABLE IF NOT EXISTS scanstats_visitor (
    id BYTEA NOT NULL PRIMARY KEY,
    last_day INTEGER NOT NULL,
    days BIGINT NOT NULL,
    before_day INTEGER NOT NULL,
    hours BIGINT NOT NULL
);

-- Which scene brought a follower, and when, in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_follower (
    person BYTEA NOT NULL PRIMARY KEY,
    scene INTEGER NOT NULL,
    followed_at BIGINT NOT NULL
);

-- What was recorded: the seconds of the event (4 bytes, big-endian) and a hash of what tells it from others.
CREATE TABLE IF NOT EXISTS scanstats_event (
    id BYTEA NOT NULL PRIMARY KEY
);
