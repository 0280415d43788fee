//! What stands in the tables, and the statements that read and write it.
//!
//! Documents are bytes here. Whoever writes has [locked](Transaction::lock) the network.

use farlan_crypto::Secret;
use farlan_netconf::NetworkId;
use zeroize::Zeroizing;

use super::database::{Row, Transaction, Value};
use super::error::StoreError;

/// A network whose key is here.
#[derive(Debug)]
pub(crate) struct NetworkRecord {
    pub(crate) id: NetworkId,
    pub(crate) seed: Secret<32>,
    pub(crate) config: Vec<u8>,
    pub(crate) issued: u64,
    pub(crate) signed: u64,
    pub(crate) witnessed: u64,
    pub(crate) life: u32,
    pub(crate) version: u64,
    pub(crate) created: u64,
}

/// A member, or one who was.
#[derive(Clone, Debug)]
pub(crate) struct MemberRecord {
    pub(crate) node: [u8; 32],
    pub(crate) name: String,
    pub(crate) address: Option<u32>,
    pub(crate) rights: u8,
    pub(crate) issue: u64,
    pub(crate) expiry: u64,
    pub(crate) credential: Vec<u8>,
    pub(crate) invite: Option<[u8; 32]>,
    pub(crate) admitted: u64,
    pub(crate) seen: u64,
    /// When, and under which number.
    pub(crate) kicked: Option<(u64, u64)>,
}

/// An invite.
#[derive(Debug)]
pub(crate) struct InviteRecord {
    pub(crate) key: [u8; 32],
    pub(crate) secret: Option<Secret<32>>,
    pub(crate) delegation: Vec<u8>,
    pub(crate) label: String,
    pub(crate) uses: u32,
    pub(crate) taken: u64,
    pub(crate) issue: u64,
    pub(crate) expiry: u64,
    pub(crate) created: u64,
    pub(crate) withdrawn: Option<u64>,
}

/// A node that may renew certificates.
#[derive(Clone, Debug)]
pub(crate) struct DelegateRecord {
    pub(crate) node: [u8; 32],
    pub(crate) delegation: Vec<u8>,
    pub(crate) expiry: u64,
    pub(crate) created: u64,
}

/// An address that is kept for a node (its key) or a name.
#[derive(Clone, Debug)]
pub(crate) struct Reserved {
    pub(crate) address: u32,
    pub(crate) node: Option<[u8; 32]>,
    pub(crate) name: String,
}

/// The statement that reads all columns of a table, in the order in which the functions at the end of this file take them.
macro_rules! select {
    (NETWORK, $which:literal) => {
        concat!("SELECT id, seed, config, issued, signed, witnessed, life, version, created FROM networks ", $which)
    };
    (MEMBER, $which:literal) => {
        concat!(
            "SELECT node, name, address, rights, issue, expiry, credential, invite, admitted, seen, kicked, kicked_issue ",
            "FROM members ",
            $which
        )
    };
    (INVITE, $which:literal) => {
        concat!(
            "SELECT key, secret, delegation, label, uses, taken, issue, expiry, created, withdrawn FROM invites ",
            $which
        )
    };
    (DELEGATE, $which:literal) => {
        concat!("SELECT node, delegation, expiry, created FROM delegates ", $which)
    };
}

impl Transaction {
    /// Reads a network and keeps everybody else from changing it, or anything of it, until this transaction ends.
    pub(crate) async fn lock(&mut self, id: &NetworkId) -> Result<Option<NetworkRecord>, StoreError> {
        let sql = match self {
            // Who writes has the whole file.
            Self::Sqlite(_) => select!(NETWORK, "WHERE id = $1"),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => select!(NETWORK, "WHERE id = $1 FOR UPDATE"),
        };
        self.row(sql, &[id.as_bytes().into()]).await?.map(network).transpose()
    }

    pub(crate) async fn network(&mut self, id: &NetworkId) -> Result<Option<NetworkRecord>, StoreError> {
        self.row(select!(NETWORK, "WHERE id = $1"), &[id.as_bytes().into()])
            .await?
            .map(network)
            .transpose()
    }

    pub(crate) async fn networks(&mut self) -> Result<Vec<NetworkId>, StoreError> {
        let rows = self.rows("SELECT id FROM networks ORDER BY created, id", &[]).await?;
        rows.iter()
            .map(|row| Ok(NetworkId::from_bytes(row.array(0)?)))
            .collect()
    }

    /// Whether the network was not there yet.
    pub(crate) async fn insert_network(&mut self, network: &NetworkRecord) -> Result<bool, StoreError> {
        let values = [
            network.id.as_bytes().into(),
            network.seed.as_bytes().into(),
            Value::from(&network.config),
            network.issued.into(),
            network.signed.into(),
            network.witnessed.into(),
            u64::from(network.life).into(),
            network.version.into(),
            network.created.into(),
        ];
        let sql = "INSERT INTO networks (id, seed, config, issued, signed, witnessed, life, version, created) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
        Ok(self.execute(sql, &values).await? == 1)
    }

    /// Writes what changes of a network.
    pub(crate) async fn update_network(&mut self, network: &NetworkRecord) -> Result<(), StoreError> {
        let values = [
            network.id.as_bytes().into(),
            Value::from(&network.config),
            network.issued.into(),
            network.signed.into(),
            network.witnessed.into(),
            u64::from(network.life).into(),
            network.version.into(),
        ];
        let sql = "UPDATE networks SET config = $2, issued = $3, signed = $4, witnessed = $5, life = $6, version = $7 WHERE id = $1";
        self.execute(sql, &values).await.map(drop)
    }

    /// Forgets a network and all that belongs to it; whether it was there.
    pub(crate) async fn delete_network(&mut self, id: &NetworkId) -> Result<bool, StoreError> {
        Ok(self
            .execute("DELETE FROM networks WHERE id = $1", &[id.as_bytes().into()])
            .await?
            == 1)
    }

    pub(crate) async fn member(&mut self, id: &NetworkId, node: &[u8; 32]) -> Result<Option<MemberRecord>, StoreError> {
        let sql = select!(MEMBER, "WHERE network = $1 AND node = $2");
        let row = self.row(sql, &[id.as_bytes().into(), node.into()]).await?;
        row.map(member).transpose()
    }

    /// How many members there are.
    pub(crate) async fn count_members(&mut self, id: &NetworkId) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) FROM members WHERE network = $1 AND kicked IS NULL";
        match self.row(sql, &[id.as_bytes().into()]).await? {
            Some(row) => row.unsigned(0),
            None => Ok(0),
        }
    }

    /// The member with this name.
    pub(crate) async fn member_named(
        &mut self,
        id: &NetworkId,
        name: &str,
    ) -> Result<Option<MemberRecord>, StoreError> {
        let sql = select!(MEMBER, "WHERE network = $1 AND name = $2 AND kicked IS NULL");
        let row = self.row(sql, &[id.as_bytes().into(), name.into()]).await?;
        row.map(member).transpose()
    }

    /// The member with this address.
    pub(crate) async fn member_at(&mut self, id: &NetworkId, address: u32) -> Result<Option<MemberRecord>, StoreError> {
        let sql = select!(MEMBER, "WHERE network = $1 AND address = $2 AND kicked IS NULL");
        let row = self
            .row(sql, &[id.as_bytes().into(), u64::from(address).into()])
            .await?;
        row.map(member).transpose()
    }

    /// All members and all who were, by name.
    pub(crate) async fn members(&mut self, id: &NetworkId) -> Result<Vec<MemberRecord>, StoreError> {
        let sql = select!(MEMBER, "WHERE network = $1 ORDER BY name, node");
        let rows = self.rows(sql, &[id.as_bytes().into()]).await?;
        rows.into_iter().map(member).collect()
    }

    /// The members, and those who were, that came in by an invite.
    pub(crate) async fn members_by_invite(
        &mut self,
        id: &NetworkId,
        invite: &[u8; 32],
    ) -> Result<Vec<MemberRecord>, StoreError> {
        let sql = select!(MEMBER, "WHERE network = $1 AND invite = $2 ORDER BY name, node");
        let rows = self.rows(sql, &[id.as_bytes().into(), invite.into()]).await?;
        rows.into_iter().map(member).collect()
    }

    /// Writes a member in the place of what is there of it.
    pub(crate) async fn put_member(&mut self, id: &NetworkId, member: &MemberRecord) -> Result<(), StoreError> {
        let values = [
            id.as_bytes().into(),
            Value::from(&member.node),
            member.name.as_str().into(),
            member.address.map(u64::from).into(),
            u64::from(member.rights).into(),
            member.issue.into(),
            member.expiry.into(),
            Value::from(&member.credential),
            member.invite.as_ref().into(),
            member.admitted.into(),
            member.seen.into(),
            member.kicked.map(|(time, _)| time).into(),
            member.kicked.map(|(_, issue)| issue).into(),
        ];
        let sql = "INSERT INTO members (network, node, name, address, rights, issue, expiry, credential, invite, admitted, \
                   seen, kicked, kicked_issue) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
                   ON CONFLICT (network, node) DO UPDATE SET name = excluded.name, address = excluded.address, \
                   rights = excluded.rights, issue = excluded.issue, expiry = excluded.expiry, \
                   credential = excluded.credential, invite = excluded.invite, admitted = excluded.admitted, \
                   seen = excluded.seen, kicked = excluded.kicked, kicked_issue = excluded.kicked_issue";
        self.execute(sql, &values).await.map(drop)
    }

    /// Notes when a member was last met; one that was met later already stays so.
    pub(crate) async fn see(&mut self, id: &NetworkId, node: &[u8; 32], at: u64) -> Result<(), StoreError> {
        let sql = "UPDATE members SET seen = $3 WHERE network = $1 AND node = $2 AND seen < $3";
        self.execute(sql, &[id.as_bytes().into(), node.into(), at.into()])
            .await
            .map(drop)
    }

    /// The names in use that begin with `prefix`, those of `node` left out. Names are ASCII, so `~` is behind all of them.
    pub(crate) async fn names(
        &mut self,
        id: &NetworkId,
        prefix: &str,
        node: &[u8; 32],
    ) -> Result<Vec<String>, StoreError> {
        let end = format!("{prefix}~");
        let sql = "SELECT name FROM members WHERE network = $1 AND kicked IS NULL AND name >= $2 AND name < $3 AND node <> $4";
        let values = [id.as_bytes().into(), prefix.into(), end.as_str().into(), node.into()];
        self.rows(sql, &values).await?.iter().map(|row| row.text(0)).collect()
    }

    /// The addresses from `first` to `last` that are in use or reserved, in their order; what is `node`'s own, or reserved
    /// for it or for the name that it has, is left out.
    pub(crate) async fn taken_addresses(
        &mut self,
        id: &NetworkId,
        first: u32,
        last: u32,
        node: &[u8; 32],
        name: &str,
    ) -> Result<Vec<u32>, StoreError> {
        let sql = "SELECT address FROM members WHERE network = $1 AND kicked IS NULL AND address >= $2 AND address <= $3 \
                   AND node <> $4 \
                   UNION SELECT address FROM reservations WHERE network = $1 AND address >= $2 AND address <= $3 \
                   AND node <> $4 AND (name = '' OR name <> $5) ORDER BY 1";
        let values = [
            id.as_bytes().into(),
            u64::from(first).into(),
            u64::from(last).into(),
            node.into(),
            name.into(),
        ];
        self.rows(sql, &values)
            .await?
            .iter()
            .map(|row| address(row.integer(0)?))
            .collect()
    }

    /// The address that is reserved for a node or, if none is for the node, for a name.
    pub(crate) async fn reserved_address(
        &mut self,
        id: &NetworkId,
        node: &[u8; 32],
        name: &str,
    ) -> Result<Option<u32>, StoreError> {
        let sql = "SELECT address FROM reservations WHERE network = $1 AND (node = $2 OR (name <> '' AND name = $3)) \
                   ORDER BY name, address";
        let values = [id.as_bytes().into(), node.into(), name.into()];
        self.row(sql, &values)
            .await?
            .map(|row| address(row.integer(0)?))
            .transpose()
    }

    pub(crate) async fn reservations(&mut self, id: &NetworkId) -> Result<Vec<Reserved>, StoreError> {
        let sql = "SELECT address, node, name FROM reservations WHERE network = $1 ORDER BY address";
        let rows = self.rows(sql, &[id.as_bytes().into()]).await?;
        rows.iter()
            .map(|row| {
                let node = row.bytes(1)?;
                Ok(Reserved {
                    address: address(row.integer(0)?)?,
                    node: if node.is_empty() { None } else { Some(row.array(1)?) },
                    name: row.text(2)?,
                })
            })
            .collect()
    }

    /// Reserves an address, in the place of what was reserved for the same node or name, and of whom it was for.
    pub(crate) async fn put_reservation(&mut self, id: &NetworkId, reserved: &Reserved) -> Result<(), StoreError> {
        let node = reserved.node.as_ref().map_or(&[][..], <[u8; 32]>::as_slice);
        let values = [
            id.as_bytes().into(),
            u64::from(reserved.address).into(),
            Value::from(node),
            reserved.name.as_str().into(),
        ];
        let before = "DELETE FROM reservations WHERE network = $1 AND (address = $2 OR (node = $3 AND name = $4))";
        self.execute(before, &values).await?;
        let sql = "INSERT INTO reservations (network, address, node, name) VALUES ($1, $2, $3, $4)";
        self.execute(sql, &values).await.map(drop)
    }

    /// Whether the address was reserved.
    pub(crate) async fn delete_reservation(&mut self, id: &NetworkId, address: u32) -> Result<bool, StoreError> {
        let sql = "DELETE FROM reservations WHERE network = $1 AND address = $2";
        Ok(self
            .execute(sql, &[id.as_bytes().into(), u64::from(address).into()])
            .await?
            == 1)
    }

    pub(crate) async fn invite(&mut self, id: &NetworkId, key: &[u8; 32]) -> Result<Option<InviteRecord>, StoreError> {
        let sql = select!(INVITE, "WHERE network = $1 AND key = $2");
        let row = self.row(sql, &[id.as_bytes().into(), key.into()]).await?;
        row.map(invite).transpose()
    }

    /// All invites, the oldest first.
    pub(crate) async fn invites(&mut self, id: &NetworkId) -> Result<Vec<InviteRecord>, StoreError> {
        let sql = select!(INVITE, "WHERE network = $1 ORDER BY issue, key");
        let rows = self.rows(sql, &[id.as_bytes().into()]).await?;
        rows.into_iter().map(invite).collect()
    }

    pub(crate) async fn insert_invite(&mut self, id: &NetworkId, invite: &InviteRecord) -> Result<(), StoreError> {
        let values = [
            id.as_bytes().into(),
            Value::from(&invite.key),
            invite.secret.as_ref().map(Secret::as_bytes).into(),
            Value::from(&invite.delegation),
            invite.label.as_str().into(),
            u64::from(invite.uses).into(),
            invite.taken.into(),
            invite.issue.into(),
            invite.expiry.into(),
            invite.created.into(),
            invite.withdrawn.into(),
        ];
        let sql = "INSERT INTO invites (network, key, secret, delegation, label, uses, taken, issue, expiry, created, withdrawn) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
        self.execute(sql, &values).await.map(drop)
    }

    /// Withdraws an invite, and forgets its secret; whether it was not withdrawn before.
    pub(crate) async fn withdraw_invite(
        &mut self,
        id: &NetworkId,
        key: &[u8; 32],
        at: u64,
    ) -> Result<bool, StoreError> {
        let sql =
            "UPDATE invites SET withdrawn = $3, secret = NULL WHERE network = $1 AND key = $2 AND withdrawn IS NULL";
        Ok(self
            .execute(sql, &[id.as_bytes().into(), key.into(), at.into()])
            .await?
            == 1)
    }

    /// Whether a node came in by an invite.
    pub(crate) async fn was_admitted(
        &mut self,
        id: &NetworkId,
        invite: &[u8; 32],
        node: &[u8; 32],
    ) -> Result<bool, StoreError> {
        let sql = "SELECT admitted FROM admissions WHERE network = $1 AND invite = $2 AND node = $3";
        let values = [id.as_bytes().into(), invite.into(), node.into()];
        Ok(self.row(sql, &values).await?.is_some())
    }

    /// Lets a node in by an invite that has a use left: `false` if it has none. A node takes one use, however often it asks.
    pub(crate) async fn take_use(
        &mut self,
        id: &NetworkId,
        invite: &[u8; 32],
        node: &[u8; 32],
        at: u64,
    ) -> Result<bool, StoreError> {
        if self.was_admitted(id, invite, node).await? {
            return Ok(true);
        }
        let sql = "UPDATE invites SET taken = taken + 1 WHERE network = $1 AND key = $2 AND (uses = 0 OR taken < uses)";
        if self.execute(sql, &[id.as_bytes().into(), invite.into()]).await? == 0 {
            return Ok(false);
        }
        let sql = "INSERT INTO admissions (network, invite, node, admitted) VALUES ($1, $2, $3, $4)";
        let values = [id.as_bytes().into(), invite.into(), node.into(), at.into()];
        self.execute(sql, &values).await?;
        Ok(true)
    }

    /// Whether the revocation was not known yet.
    pub(crate) async fn add_revocation(&mut self, id: &NetworkId, revocation: &[u8]) -> Result<bool, StoreError> {
        let sql = "INSERT INTO revocations (network, revocation) VALUES ($1, $2) ON CONFLICT (network, revocation) DO NOTHING";
        Ok(self.execute(sql, &[id.as_bytes().into(), revocation.into()]).await? == 1)
    }

    /// All revocations in the order of their bytes.
    pub(crate) async fn revocations(&mut self, id: &NetworkId) -> Result<Vec<Vec<u8>>, StoreError> {
        let sql = "SELECT revocation FROM revocations WHERE network = $1 ORDER BY revocation";
        let rows = self.rows(sql, &[id.as_bytes().into()]).await?;
        rows.iter().map(|row| row.bytes(0)).collect()
    }

    pub(crate) async fn delegate(
        &mut self,
        id: &NetworkId,
        node: &[u8; 32],
    ) -> Result<Option<DelegateRecord>, StoreError> {
        let sql = select!(DELEGATE, "WHERE network = $1 AND node = $2");
        let row = self.row(sql, &[id.as_bytes().into(), node.into()]).await?;
        row.map(delegate).transpose()
    }

    pub(crate) async fn delegates(&mut self, id: &NetworkId) -> Result<Vec<DelegateRecord>, StoreError> {
        let sql = select!(DELEGATE, "WHERE network = $1 ORDER BY created, node");
        let rows = self.rows(sql, &[id.as_bytes().into()]).await?;
        rows.into_iter().map(delegate).collect()
    }

    pub(crate) async fn put_delegate(&mut self, id: &NetworkId, delegate: &DelegateRecord) -> Result<(), StoreError> {
        let values = [
            id.as_bytes().into(),
            Value::from(&delegate.node),
            Value::from(&delegate.delegation),
            delegate.expiry.into(),
            delegate.created.into(),
        ];
        let sql = "INSERT INTO delegates (network, node, delegation, expiry, created) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (network, node) DO UPDATE SET delegation = excluded.delegation, expiry = excluded.expiry, \
                   created = excluded.created";
        self.execute(sql, &values).await.map(drop)
    }

    /// Whether the node was a delegate.
    pub(crate) async fn delete_delegate(&mut self, id: &NetworkId, node: &[u8; 32]) -> Result<bool, StoreError> {
        let sql = "DELETE FROM delegates WHERE network = $1 AND node = $2";
        Ok(self.execute(sql, &[id.as_bytes().into(), node.into()]).await? == 1)
    }
}

fn network(row: Row) -> Result<NetworkRecord, StoreError> {
    Ok(NetworkRecord {
        id: NetworkId::from_bytes(row.array(0)?),
        seed: secret(row.bytes(1)?)?,
        config: row.bytes(2)?,
        issued: row.unsigned(3)?,
        signed: row.unsigned(4)?,
        witnessed: row.unsigned(5)?,
        life: small(&row, 6)?,
        version: row.unsigned(7)?,
        created: row.unsigned(8)?,
    })
}

fn member(row: Row) -> Result<MemberRecord, StoreError> {
    let kicked = match (row.optional_unsigned(10)?, row.optional_unsigned(11)?) {
        (Some(time), Some(issue)) => Some((time, issue)),
        (None, None) => None,
        _ => return Err(StoreError::Damaged("half of a kick")),
    };
    Ok(MemberRecord {
        node: row.array(0)?,
        name: row.text(1)?,
        address: row.optional_integer(2)?.map(address).transpose()?,
        rights: small(&row, 3)?,
        issue: row.unsigned(4)?,
        expiry: row.unsigned(5)?,
        credential: row.bytes(6)?,
        invite: row.optional_bytes(7)?.map(|_| row.array(7)).transpose()?,
        admitted: row.unsigned(8)?,
        seen: row.unsigned(9)?,
        kicked,
    })
}

fn invite(row: Row) -> Result<InviteRecord, StoreError> {
    Ok(InviteRecord {
        key: row.array(0)?,
        secret: row.optional_bytes(1)?.map(secret).transpose()?,
        delegation: row.bytes(2)?,
        label: row.text(3)?,
        uses: small(&row, 4)?,
        taken: row.unsigned(5)?,
        issue: row.unsigned(6)?,
        expiry: row.unsigned(7)?,
        created: row.unsigned(8)?,
        withdrawn: row.optional_unsigned(9)?,
    })
}

fn delegate(row: Row) -> Result<DelegateRecord, StoreError> {
    Ok(DelegateRecord {
        node: row.array(0)?,
        delegation: row.bytes(1)?,
        expiry: row.unsigned(2)?,
        created: row.unsigned(3)?,
    })
}

fn secret(bytes: Vec<u8>) -> Result<Secret<32>, StoreError> {
    let bytes = Zeroizing::new(bytes);
    let bytes =
        <&[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| StoreError::Damaged("a secret of another length"))?;
    Ok(Secret::copy_of(bytes))
}

fn small<T: TryFrom<i64>>(row: &Row, column: usize) -> Result<T, StoreError> {
    row.integer(column)?
        .try_into()
        .map_err(|_| StoreError::Damaged("a number that is too large"))
}

fn address(integer: i64) -> Result<u32, StoreError> {
    u32::try_from(integer).map_err(|_| StoreError::Damaged("an address outside IPv4"))
}
