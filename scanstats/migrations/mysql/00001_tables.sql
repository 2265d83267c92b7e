-- +goose Up
-- MySQL commits each statement, so each can run again after a crash.

-- Settings that all instances share. A writer locks the row 'lock', so that one instance writes at a
-- time.
CREATE TABLE IF NOT EXISTS scanstats_setting (
    name VARCHAR(64) NOT NULL PRIMARY KEY,
    value VARCHAR(255) NOT NULL
) ENGINE=InnoDB;

INSERT IGNORE INTO scanstats_setting (name, value) VALUES ('lock', '');

-- The scenes. Two ids have no row: 0, all scenes together, and 1, no scene.
CREATE TABLE IF NOT EXISTS scanstats_scene (
    id INT NOT NULL PRIMARY KEY,
    scene VARBINARY(1024) NOT NULL UNIQUE,
    name VARBINARY(512) NOT NULL,
    label_group VARBINARY(512) NOT NULL
) ENGINE=InnoDB;

-- Counts by hour; start is its beginning, in Unix seconds.
CREATE TABLE IF NOT EXISTS scanstats_hour (
    start BIGINT NOT NULL,
    scene INT NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    unique_users BIGINT NOT NULL,
    unfollows BIGINT NOT NULL,
    PRIMARY KEY (start, scene)
) ENGINE=InnoDB;

-- Counts by day; day is the date in the time zone of the database, in days since 1970-01-01.
-- unfollowed_n is the number of the new followers of the day who unfollowed within n times 24 hours.
CREATE TABLE IF NOT EXISTS scanstats_day (
    day INT NOT NULL,
    scene INT NOT NULL,
    scans BIGINT NOT NULL,
    new_followers BIGINT NOT NULL,
    unique_users BIGINT NOT NULL,
    unfollows BIGINT NOT NULL,
    unfollowed_1 BIGINT NOT NULL,
    unfollowed_7 BIGINT NOT NULL,
    unfollowed_30 BIGINT NOT NULL,
    PRIMARY KEY (day, scene)
) ENGINE=InnoDB;

-- The number of users who scanned on that day and, the time before, on previous_day (0 for none). The
-- unique users of a range of days are those whose day is in the range and whose previous_day is before it.
CREATE TABLE IF NOT EXISTS scanstats_unique (
    day INT NOT NULL,
    scene INT NOT NULL,
    previous_day INT NOT NULL,
    users BIGINT NOT NULL,
    PRIMARY KEY (day, scene, previous_day)
) ENGINE=InnoDB;

-- The history of a user: person is a keyed hash of the OpenID, last_at the time of the last event,
-- unfollowed_at that of the first unfollow in the history, 0 for none, in Unix seconds. The history has
-- 13 bytes per record: kind, time (8 bytes), scene (4 bytes), big-endian.
CREATE TABLE IF NOT EXISTS scanstats_person (
    person BINARY(16) NOT NULL PRIMARY KEY,
    last_at BIGINT NOT NULL,
    unfollowed_at BIGINT NOT NULL,
    history MEDIUMBLOB NOT NULL
) ENGINE=InnoDB;

-- Recorded events, to detect duplicates: the Unix seconds (4 bytes, big-endian) and a keyed hash.
CREATE TABLE IF NOT EXISTS scanstats_event (
    id BINARY(16) NOT NULL PRIMARY KEY
) ENGINE=InnoDB;
