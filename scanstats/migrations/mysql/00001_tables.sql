-- +goose Up
-- MySQL commits each statement by itself, so all of them can run again after a crash.

-- One row for each thing that all instances must agree on. The row 'lock' is locked by whoever
-- writes, so that one instance writes at a time.
CREATE TABLE IF NOT EXISTS scanstats_setting (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value VARCHAR(255) NOT NULL
) ENGINE=InnoDB;

INSERT IGNORE INTO scanstats_setting (name, value) VALUES ('lock', '');

-- What is counted by itself. Two ids have no row: 0, all scenes together, and 1, no scene.
CREATE TABLE IF NOT EXISTS scanstats_scene (
    id INT NOT NULL PRIMARY KEY,
    scene VARBINARY(1024) NOT NULL UNIQUE,
    name VARBINARY(512) NOT NULL,
    label_group VARBINARY(512) NOT NULL
) ENGINE=InnoDB;

-- Counts by hour; start is its beginning in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_hour (
    start BIGINT NOT NULL,
    scene INT NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    people BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    PRIMARY KEY (start, scene)
) ENGINE=InnoDB;

-- Counts by day; day is the date in the time zone of all instances, in days since 1970-01-01. Of the
-- followers who came on that day, left_n had left before n times 24 hours were over.
CREATE TABLE IF NOT EXISTS scanstats_day (
    day INT NOT NULL,
    scene INT NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    people BIGINT NOT NULL,
    lost BIGINT NOT NULL,
    left_1 BIGINT NOT NULL,
    left_7 BIGINT NOT NULL,
    left_30 BIGINT NOT NULL,
    PRIMARY KEY (day, scene)
) ENGINE=InnoDB;

-- How many people scanned on that day who had scanned before on previous_day, and not in between;
-- it is 0 for those who never had. Any range of days has as many people as come in it from a
-- previous_day before it.
CREATE TABLE IF NOT EXISTS scanstats_people (
    day INT NOT NULL,
    scene INT NOT NULL,
    previous_day INT NOT NULL,
    people BIGINT NOT NULL,
    PRIMARY KEY (day, scene, previous_day)
) ENGINE=InnoDB;

-- On which days a person scanned: id is the hash of the OpenID and the scene (4 bytes, big-endian). Bit n
-- of days is the n-th day before last_day, before_day the last one before those 64 days, or 0; bit n of
-- hours is the n-th hour of last_day. A row without days is of somebody who left: hours is when, in Unix
-- seconds, last_day the day, and before_day 1 if nobody knew which scene had brought them. It goes after a day or two.
CREATE TABLE IF NOT EXISTS scanstats_visitor (
    id BINARY(20) NOT NULL PRIMARY KEY,
    last_day INT NOT NULL,
    days BIGINT NOT NULL,
    before_day INT NOT NULL,
    hours BIGINT NOT NULL
) ENGINE=InnoDB;

-- Which scene brought a follower, and when, in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_follower (
    person BINARY(16) NOT NULL PRIMARY KEY,
    scene INT NOT NULL,
    followed_at BIGINT NOT NULL
) ENGINE=InnoDB;

-- What was recorded: the seconds of the event (4 bytes, big-endian) and a hash of what tells it from others.
CREATE TABLE IF NOT EXISTS scanstats_event (
    id BINARY(16) NOT NULL PRIMARY KEY
) ENGINE=InnoDB;
