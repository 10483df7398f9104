//! What the roles of the system may do: one table, whoever asks.

use crate::Role;

/// Something that not everybody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// To find accounts and look at them.
    UsersRead,
    /// To let somebody in again who is locked out.
    UsersUnlock,
    /// To end somebody's sessions.
    SessionsEnd,
    /// Everything else that is done to accounts or to the server.
    Administration,
}

impl Permission {
    pub const ALL: [Self; 4] = [
        Self::UsersRead,
        Self::UsersUnlock,
        Self::SessionsEnd,
        Self::Administration,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UsersRead => "users.read",
            Self::UsersUnlock => "users.unlock",
            Self::SessionsEnd => "sessions.end",
            Self::Administration => "administration",
        }
    }

    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == code)
    }

    /// The table: who may.
    pub const fn roles(self) -> &'static [Role] {
        match self {
            Self::UsersRead | Self::UsersUnlock | Self::SessionsEnd => {
                &[Role::Admin, Role::Support]
            }
            Self::Administration => &[Role::Admin],
        }
    }

    /// The check: the first of somebody's roles that grants it.
    pub fn granted_by(self, roles: &[Role]) -> Option<Role> {
        let mut granting = roles.iter().copied();
        granting.find(|role| self.roles().contains(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_what() {
        for (role, want) in [
            (Role::Admin, &Permission::ALL[..]),
            (
                Role::Support,
                &[
                    Permission::UsersRead,
                    Permission::UsersUnlock,
                    Permission::SessionsEnd,
                ],
            ),
            (Role::User, &[]),
        ] {
            let may = Permission::ALL.into_iter();
            let may: Vec<_> = may
                .filter(|it| it.granted_by(&[Role::User, role]) == Some(role))
                .collect();
            assert_eq!(may, want, "{role:?}");
        }
        assert!(
            Permission::ALL
                .iter()
                .all(|it| it.granted_by(&[]).is_none())
        );
    }

    #[test]
    fn codes_are_read_as_they_are_written() {
        for permission in Permission::ALL {
            assert_eq!(Permission::parse(permission.as_str()), Some(permission));
        }
        for wrong in ["", "Users.read", "users", "users.read "] {
            assert_eq!(Permission::parse(wrong), None);
        }
    }
}
