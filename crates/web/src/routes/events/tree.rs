//! Causes and effects: the events of one chain as a tree.

use std::collections::HashMap;

use quivive_app::ports::{EventIndex, Related};
use quivive_delivery::{Fault, Stored, Time};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Events of one chain that are shown: those of a request are a dozen, and an answer is to stay readable.
const MAX_EVENTS: u32 = 200;

/// What belongs together by its correlation id, as far as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tree {
    /// The chain of causes that the event belongs to: each node {id, type, position, time, `workflow_id`, effects}, the
    /// effects being nodes too. What has no cause in the chain is a root. The oldest 200 events of it.
    #[schema(value_type = Vec<Object>)]
    tree: Vec<Node>,
    /// The chain has more events than are shown.
    tree_is_cut: bool,
}

#[derive(Debug, Serialize)]
struct Node {
    id: Uuid,
    #[serde(rename = "type")]
    kind: String,
    position: u64,
    time: Time,
    workflow_id: Uuid,
    effects: Vec<Self>,
}

impl Tree {
    /// The chain of an event.
    pub async fn around(index: &dyn EventIndex, event: &Stored) -> Result<Self, Fault> {
        let chain = Related::Correlation(event.envelope.correlation_id);
        let mut events = index.related(chain, MAX_EVENTS + 1).await?;
        let tree_is_cut = events.len() > MAX_EVENTS as usize;
        events.truncate(MAX_EVENTS as usize);
        Ok(Self {
            tree: tree(events),
            tree_is_cut,
        })
    }
}

/// `events`, oldest first: an effect lies behind its cause.
fn tree(events: Vec<Stored>) -> Vec<Node> {
    let places: HashMap<Uuid, usize> = (0..)
        .zip(&events)
        .map(|(place, event)| (event.envelope.id, place))
        .collect();
    let cause = |place: usize, event: &Stored| {
        let cause = event.envelope.causation_id?;
        places.get(&cause).copied().filter(|cause| *cause < place)
    };
    let causes: Vec<_> = (0..)
        .zip(&events)
        .map(|(place, event)| cause(place, event))
        .collect();
    let mut effects: Vec<Vec<Node>> = events.iter().map(|_| Vec::new()).collect();
    let mut roots = Vec::new();
    // From the last one on, so that each has its effects when it is put under its cause.
    for (event, cause) in events.into_iter().zip(causes).rev() {
        let mut own = effects.pop().unwrap_or_default();
        own.reverse();
        let envelope = event.envelope;
        let node = Node {
            id: envelope.id,
            kind: envelope.kind,
            position: event.position,
            time: envelope.time,
            workflow_id: envelope.workflow_id,
            effects: own,
        };
        match cause {
            Some(cause) => effects[cause].push(node),
            None => roots.push(node),
        }
    }
    roots.reverse();
    roots
}

#[cfg(test)]
mod tests {
    use quivive_app::testing::{NEW_PASSWORD, account, given, password};
    use quivive_app::workflows::sessions::log_in::LogIn;

    use super::*;

    fn shape(nodes: &[Node]) -> String {
        let one = |node: &Node| format!("{}({})", node.position, shape(&node.effects));
        nodes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn effects_lie_under_their_causes_in_order() {
        let scene = given(account().verified());
        let wrong = || LogIn {
            email: "ada@example.org".to_owned(),
            password: password(NEW_PASSWORD),
            device_token: None,
        };
        for _ in 0..5 {
            scene.when(wrong()).await;
        }
        // The last one locks the account, which is a workflow of its own in the same chain.
        let log = scene.world.log();
        let last = log.last().expect("events").clone();
        let tree = Tree::around(&scene.world, &last).await.expect("a tree");
        assert_eq!(shape(&tree.tree), "9(10(11() 12()))");
        assert!(!tree.tree_is_cut);

        // What has no cause among those that are shown is a root.
        let without_attempt = log.into_iter().skip(9).collect();
        assert_eq!(shape(&super::tree(without_attempt)), "10(11() 12())");
    }
}
