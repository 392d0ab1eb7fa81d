//! What a setup code may become: the roles and scopes that the device which shows it gets without being asked about.

use crate::protocol::roles::{APPROVALS, READ, Role, Scopes, TALK_SECRETS, WRITE};

/// The most that a code is worth, whatever its record says: enough to talk to agents from a phone, nothing that lets in
/// others or changes the gateway.
const OPERATOR: [&str; 4] = [APPROVALS, READ, TALK_SECRETS, WRITE];

/// Roles and operator scopes that go with a code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grant {
    roles: Vec<Role>,
    scopes: Scopes,
}

impl Grant {
    /// A phone: a node of its own, and an operator of a bounded kind beside it.
    pub fn phone() -> Grant {
        Grant { roles: vec![Role::Node, Role::Operator], scopes: Scopes::new(OPERATOR) }
    }

    /// As a record has it, cut down to what a code may be worth.
    pub fn of(roles: &[String], scopes: &[String]) -> Grant {
        let most = Grant::phone();
        let roles: Vec<Role> = most.roles.into_iter().filter(|role| roles.iter().any(|r| r == role.name())).collect();
        let held = Scopes::new(scopes);
        let scopes = most.scopes.iter().filter(|scope| roles.contains(&Role::Operator) && held.contains(scope));
        Grant { scopes: scopes.collect(), roles }
    }

    pub fn roles(&self) -> &[Role] {
        &self.roles
    }

    /// What goes with the role; a node gets none.
    pub fn scopes_of(&self, role: Role) -> Scopes {
        match role {
            Role::Operator => self.scopes.clone(),
            Role::Node => Scopes::NONE,
        }
    }

    /// Whether a connect for this role and these scopes stays within it.
    pub fn allows(&self, role: Role, asked: &Scopes) -> bool {
        self.roles.contains(&role) && self.scopes_of(role).covers_all(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::roles::{ADMIN, PAIRING};

    fn grant(roles: &[&str], scopes: &[&str]) -> Grant {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Grant::of(&owned(roles), &owned(scopes))
    }

    #[test]
    fn what_a_code_allows() {
        let phone = Grant::phone();
        let node = grant(&["node"], &[]);
        use Role::{Node, Operator};
        for (case, grant, role, asked, allowed) in [
            ("a phone as node", &phone, Node, &[][..], true),
            ("a node with scopes", &phone, Node, &[READ], false),
            ("a phone as operator", &phone, Operator, &[READ, WRITE], true),
            ("all of it", &phone, Operator, &OPERATOR, true),
            ("admin", &phone, Operator, &[ADMIN], false),
            ("letting others in", &phone, Operator, &[READ, PAIRING], false),
            ("a node's code as node", &node, Node, &[], true),
            ("a node's code as operator", &node, Operator, &[], false),
            ("nothing", &grant(&[], &[]), Node, &[], false),
        ] {
            assert_eq!(grant.allows(role, &Scopes::new(asked)), allowed, "{case}");
        }
    }

    #[test]
    fn no_record_is_worth_more_than_a_phone() {
        assert_eq!(grant(&["operator", "node", "root"], &[ADMIN, WRITE, "node.exec"]).scopes, Scopes::new([WRITE]));
        assert_eq!(grant(&["node"], &[WRITE]), grant(&["node"], &[]));
        assert_eq!(grant(&["node", "operator"], &OPERATOR), Grant::phone());
    }
}
