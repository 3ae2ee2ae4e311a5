//! The thread around it.

use bgp::rib::NextHopInterest;
use tokio::sync::mpsc;

use super::super::thread::{Inputs, run};
use super::super::{Farewell, RibBatch};
use super::*;

#[tokio::test]
async fn the_thread_takes_routes_in_order_answers_questions_and_detaches_when_told_to_stop() {
    let lab = Lab::new();
    let (_events, net_inputs) = mpsc::channel(4);
    let (rib, rib_inputs) = mpsc::channel(64);
    let (queries, query_inputs) = mpsc::channel(4);
    let (_doubts, doubt_inputs) = mpsc::unbounded_channel();
    let (_live, live_inputs) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(None);
    let inputs = Inputs {
        net: net_inputs,
        doubts: doubt_inputs,
        queries: query_inputs,
        rib: rib_inputs,
        live: live_inputs,
        stop: stopped,
    };
    let task = tokio::spawn(run(lab.forwarder, inputs));

    let addr = ip("10.0.0.9");
    let interest = NextHopInterest { addr, added: true };
    let batch = |next_hops, routes| RibBatch {
        id: None,
        next_hops,
        routes,
        arrivals: Vec::new(),
        settled: Vec::new(),
    };
    rib.send(batch(vec![interest], Vec::new())).await.unwrap();
    let via = RouteTarget::Via { next_hops: vec![addr], backup: None };
    for (third, target) in [(1, via.clone()), (2, via), (1, RouteTarget::Withdrawn)] {
        let change = RouteChange { prefix: net(&format!("192.0.{third}.0/24")), target };
        rib.send(batch(Vec::new(), vec![change])).await.unwrap();
    }
    // The inputs of the RIB and questions are different queues: ask until the routes are in.
    let mut rows = Vec::new();
    while rows.is_empty() {
        let (reply, answer) = oneshot::channel();
        let filter = RouteFilter::Exact(net("192.0.2.0/24"));
        queries.send(Query::Routes(filter, reply)).await.ok().unwrap();
        rows = answer.await.unwrap();
    }
    assert_eq!(lab.paper.maps().kind("192.0.1.1"), None, "the withdraw did not overtake its announce");
    assert_eq!(lab.paper.maps().kind("192.0.2.1"), Some(NextHopKind::Glean));
    assert!(!lab.paper.maps().attached.is_empty());
    stop.send_replace(Some(Farewell::Remove));
    task.await.unwrap();
    assert!(lab.paper.maps().attached.is_empty());
}
