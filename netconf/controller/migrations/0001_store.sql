-- What a controller keeps. One text for both databases: `store/migrations.rs` puts SQLite's names for the types.
-- Times are seconds since 1970. Documents stand here as they are signed, beside the columns that are searched.

CREATE TABLE networks (
    id BYTEA NOT NULL PRIMARY KEY,
    -- The seed of the network key.
    seed BYTEA NOT NULL,
    -- The config in force.
    config BYTEA NOT NULL,
    -- The latest number of what the network key issued.
    issued BIGINT NOT NULL,
    -- The newest time in anything that the network key signed.
    signed BIGINT NOT NULL,
    -- The newest time at which a renewer is known to have signed.
    witnessed BIGINT NOT NULL,
    -- The life of certificates as it was set; 0: it follows from the number of members.
    life BIGINT NOT NULL,
    -- The version of the sealed documents.
    version BIGINT NOT NULL,
    created BIGINT NOT NULL
) STRICT;

CREATE TABLE members (
    network BYTEA NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    node BYTEA NOT NULL,
    name TEXT NOT NULL,
    -- NULL for none.
    address BIGINT,
    rights BIGINT NOT NULL,
    -- The number, expiry and bytes of the latest credential.
    issue BIGINT NOT NULL,
    expiry BIGINT NOT NULL,
    credential BYTEA NOT NULL,
    -- The key of the invite that it came in by; NULL for whoever made the network or showed a certificate.
    invite BYTEA,
    admitted BIGINT NOT NULL,
    -- When it was last met; 0 for never.
    seen BIGINT NOT NULL,
    -- When it was kicked, and the number that this has; NULL for a member. The row stays, so that who comes back gets
    -- the name and address that it had.
    kicked BIGINT,
    kicked_issue BIGINT,
    PRIMARY KEY (network, node)
) STRICT;

CREATE UNIQUE INDEX members_names ON members (network, name) WHERE kicked IS NULL AND name <> '';
CREATE UNIQUE INDEX members_addresses ON members (network, address) WHERE kicked IS NULL AND address IS NOT NULL;
-- They are counted at each admission.
CREATE INDEX members_present ON members (network) WHERE kicked IS NULL;
CREATE INDEX members_invites ON members (network, invite);

CREATE TABLE invites (
    network BYTEA NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    key BYTEA NOT NULL,
    -- The secret key, with which the link can be written again; NULL if another store has it.
    secret BYTEA,
    delegation BYTEA NOT NULL,
    label TEXT NOT NULL,
    -- 0: as many as want.
    uses BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    issue BIGINT NOT NULL,
    expiry BIGINT NOT NULL,
    created BIGINT NOT NULL,
    withdrawn BIGINT,
    PRIMARY KEY (network, key),
    -- Whatever the program does, no more come in than may.
    CHECK (uses = 0 OR taken <= uses)
) STRICT;

CREATE TABLE admissions (
    network BYTEA NOT NULL,
    invite BYTEA NOT NULL,
    node BYTEA NOT NULL,
    admitted BIGINT NOT NULL,
    PRIMARY KEY (network, invite, node),
    FOREIGN KEY (network, invite) REFERENCES invites (network, key) ON DELETE CASCADE
) STRICT;

CREATE TABLE revocations (
    network BYTEA NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    revocation BYTEA NOT NULL,
    PRIMARY KEY (network, revocation)
) STRICT;

CREATE TABLE reservations (
    network BYTEA NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    address BIGINT NOT NULL,
    -- Whose it is: the node with this key, or the first one that asks for this name. The other is empty.
    node BYTEA NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (network, address),
    UNIQUE (network, node, name)
) STRICT;

CREATE TABLE delegates (
    network BYTEA NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
    node BYTEA NOT NULL,
    delegation BYTEA NOT NULL,
    expiry BIGINT NOT NULL,
    created BIGINT NOT NULL,
    PRIMARY KEY (network, node)
) STRICT;
