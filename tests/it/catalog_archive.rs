//! What is not sold any more: deleted if nothing ever held on to it, else archived, for good or until it is taken back.

use rstest::rstest;
use serde_json::{Value, json};

use crate::support::{Engine, Engine::*, Metered, Reply, World, text};

/// A plan with a price and a feature on the metric `tokens`, another feature, and the default tax: all codes end in
/// `name`. Nobody has the plan yet.
async fn stock(world: &World, name: &str) {
    let metric = format!("tokens{name}");
    let plan = json!({
        "code": format!("plan{name}"), "currency": "USD", "interval": {"unit": "month", "count": 1},
        "prices": [{"code": "tokens", "kind": "usage", "metric": metric,
            "model": {"type": "per_unit", "unit_price": "1"}}],
        "features": [{"feature": format!("seats{name}"), "value": 5}],
    });
    let body = json!({"code": metric, "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", body).await;
    let feature = json!({"code": format!("limit{name}"), "kind": "metered", "metric": metric});
    world.create("/v1/features", feature).await;
    world.create("/v1/features", json!({"code": format!("seats{name}"), "kind": "limit"})).await;
    world.create("/v1/taxes", json!({"code": format!("vat{name}"), "rate": "19"})).await;
    world.create("/v1/plans", plan).await;
}

async fn subscribe(world: &World, external_id: &str, plan: &str) -> Reply {
    let customer = json!({"external_id": external_id, "name": external_id});
    world.create("/v1/customers", customer).await;
    world.send("POST", "/v1/subscriptions", &json!({"customer": external_id, "plan": plan})).await
}

async fn delete(world: &World, path: &str) -> Value {
    Reply::of(world.request("DELETE", path)).await.expect(200)
}

async fn archive(world: &World, path: &str) -> Value {
    world.post(&format!("{path}/archive"), json!({})).await
}

async fn status(world: &World, path: &str) -> u16 {
    Reply::of(world.request("GET", path)).await.status
}

async fn codes(world: &World, path: &str) -> Vec<String> {
    world.list(path).await.iter().map(|object| text(&object["code"])).collect()
}

const START: &str = crate::support::START;

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_used_is_deleted_from_the_plan_down_and_its_codes_are_free(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    world.create("/v1/plans/plan/versions", json!({"trial_days": 3})).await;

    for (path, object) in [
        ("/v1/plans/plan", "plan"),
        ("/v1/features/limit", "feature"),
        ("/v1/features/seats", "feature"),
        ("/v1/metrics/tokens", "metric"),
        ("/v1/taxes/vat", "tax"),
    ] {
        let id = text(&world.get(path).await["id"]);
        let code = path.rsplit('/').next().unwrap();
        let gone = delete(&world, path).await;
        let expected = json!({"id": id, "object": object, "livemode": false, "code": code, "deleted": true,
            "archived_at": null});
        assert_eq!(gone, expected);
        assert_eq!(status(&world, path).await, 404, "{path}");
        assert_eq!(Reply::of(world.request("DELETE", path)).await.status, 404, "{path}");
    }
    let told = world.list("/v1/events?type=plan.deleted").await;
    assert_eq!((told.len(), &told[0]["data"]["object"]["version"]), (1, &json!(2)));
    stock(&world, "").await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_archived_and_keeps_its_code(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    subscribe(&world, "acme", "plan").await.expect(201);
    world.send("PATCH", "/v1/taxes/vat", &json!({"default": true})).await.expect(200);
    world.send("PATCH", "/v1/taxes/vat", &json!({"default": false})).await.expect(200);

    for (path, twin) in [
        ("/v1/metrics/tokens", json!({"code": "tokens", "event_name": "x", "aggregation": "count"})),
        ("/v1/features/seats", json!({"code": "seats", "kind": "switch"})),
        ("/v1/taxes/vat", json!({"code": "vat", "rate": "7"})),
        (
            "/v1/plans/plan",
            json!({"code": "plan", "currency": "USD", "interval": {"unit": "month", "count": 1}}),
        ),
    ] {
        let before = world.get(path).await;
        assert_eq!(before["archived_at"], Value::Null);
        let kept = delete(&world, path).await;
        assert_eq!(
            (&kept["deleted"], &kept["archived_at"], &kept["id"]),
            (&json!(false), &json!(START), &before["id"]),
        );
        assert_eq!(world.get(path).await["archived_at"], START, "{path}");
        let (list, _) = path.rsplit_once('/').unwrap();
        let taken = world.send("POST", list, &twin).await;
        assert_eq!(taken.status, 409, "{path}");
        assert!(taken.text.contains("archived ones keep theirs"), "{}", taken.text);
    }
    // Of the features one was granted by no plan.
    assert_eq!(delete(&world, "/v1/features/limit").await["deleted"], true);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_is_archived_to_those_who_ask_for_it(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for name in ["1", "2", "3"] {
        stock(&world, name).await;
    }
    for list in ["metrics", "taxes", "plans"] {
        let code = if list == "metrics" { "tokens" } else { &list[..list.len() - 1] };
        let code = if list == "taxes" { "vat" } else { code };
        archive(&world, &format!("/v1/{list}/{code}2")).await;
        let [one, two, three] = ["1", "2", "3"].map(|name| format!("{code}{name}"));
        assert_eq!(codes(&world, &format!("/v1/{list}")).await, [three.clone(), one.clone()]);
        assert_eq!(codes(&world, &format!("/v1/{list}?archived=false")).await, [three, one]);
        assert_eq!(codes(&world, &format!("/v1/{list}?archived=true")).await, [two]);
    }
    for name in ["seats1", "seats2"] {
        archive(&world, &format!("/v1/features/{name}")).await;
    }
    assert_eq!(codes(&world, "/v1/features").await, ["seats3", "limit3", "limit2", "limit1"]);
    let first = world.get("/v1/features?archived=true&limit=1").await;
    assert_eq!((&first["data"][0]["code"], &first["has_more"]), (&json!("seats2"), &json!(true)));
    let next = format!("/v1/features?archived=true&starting_after={}", text(&first["data"][0]["id"]));
    assert_eq!(codes(&world, &next).await, ["seats1"]);
    let refused = Reply::of(world.request("GET", "/v1/plans?archived=perhaps")).await;
    assert_eq!((refused.status, refused.errors()), (422, vec!["archived malformed".to_owned()]));
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_can_name_what_is_archived(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    for path in ["/v1/metrics/tokens", "/v1/features/seats", "/v1/taxes/vat", "/v1/plans/plan"] {
        archive(&world, path).await;
    }
    let interval = json!({"unit": "month", "count": 1});
    let price = json!({"code": "t", "kind": "usage", "metric": "tokens",
        "model": {"type": "per_unit", "unit_price": "1"}});
    let plan = json!({"code": "new", "currency": "USD", "interval": interval, "prices": [price],
        "features": [{"feature": "seats", "value": 1}]});
    let alert = json!({"customer": "acme", "metric": "tokens", "kind": "quantity", "threshold": "1"});

    for (path, body, places) in [
        ("/v1/plans", plan, vec!["/prices/0/metric archived", "/features/0/feature archived"]),
        (
            "/v1/features",
            json!({"code": "f", "kind": "metered", "metric": "tokens"}),
            vec!["/metric archived"],
        ),
        ("/v1/usage_alerts", alert, vec!["/metric archived"]),
        ("/v1/subscriptions", json!({"customer": "acme", "plan": "plan"}), vec!["/plan archived"]),
    ] {
        let refused = world.send("POST", path, &body).await;
        assert_eq!(
            (refused.status, refused.errors()),
            (422, places.iter().map(|at| (*at).to_owned()).collect())
        );
        let detail = text(&refused.json()["errors"][0]["detail"]);
        assert!(detail.ends_with("is archived: use another one, or unarchive it first"), "{detail}");
    }
    let version = world.send("POST", "/v1/plans/plan/versions", &json!({"trial_days": 3})).await;
    assert_eq!((version.status, &version.json()["code"]), (409, &json!("illegal_transition")));
    let default = world.send("PATCH", "/v1/taxes/vat", &json!({"default": true})).await;
    assert_eq!((default.status, &default.json()["code"]), (409, &json!("illegal_transition")));
    let renamed = world.send("PATCH", "/v1/plans/plan", &json!({"name": "The old one"})).await.expect(200);
    assert_eq!((&renamed["name"], &renamed["archived_at"]), (&json!("The old one"), &json!(START)));

    for path in ["/v1/metrics/tokens", "/v1/features/seats", "/v1/taxes/vat", "/v1/plans/plan"] {
        let back = world.post(&format!("{path}/unarchive"), json!({})).await;
        assert_eq!(back["archived_at"], Value::Null);
    }
    world.create("/v1/features", json!({"code": "f", "kind": "metered", "metric": "tokens"})).await;
    world.create("/v1/plans/plan/versions", json!({"features": [{"feature": "seats", "value": 1}]})).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "plan"})).await;
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_keeps_what_it_has_of_the_archive_in_its_next_version(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    archive(&world, "/v1/metrics/tokens").await;
    archive(&world, "/v1/features/seats").await;

    let next = world.create("/v1/plans/plan/versions", json!({"trial_days": 7})).await;

    assert_eq!(
        (&next["prices"][0]["code"], &next["features"][0]["feature"]),
        (&json!("tokens"), &json!("seats"))
    );
    let named = json!({"features": [{"feature": "seats", "value": 6}]});
    let refused = world.send("POST", "/v1/plans/plan/versions", &named).await;
    assert_eq!(refused.errors(), ["/features/0/feature archived"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_goes_on_counting_granting_billing_and_being_explained(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/metrics", json!({"code": "calls", "event_name": "call", "aggregation": "count"})).await;
    world.create("/v1/features", json!({"code": "calls", "kind": "metered", "metric": "calls"})).await;
    let metered = Metered::subscribe(world, "calls", json!({"type": "per_unit", "unit_price": "2"})).await;
    let world = &metered.world;
    let granting = json!({"code": "extra", "currency": "USD", "interval": {"unit": "month", "count": 1},
        "features": [{"feature": "calls", "value": 10}]});
    world.create("/v1/plans", granting).await;
    world.create("/v1/subscriptions", json!({"customer": "acme", "plan": "extra"})).await;
    metered.call("e1", "1", "2026-02-01T00:00:00Z").await;

    for path in ["/v1/plans/api", "/v1/plans/extra", "/v1/features/calls", "/v1/metrics/calls"] {
        assert_eq!(delete(world, path).await["deleted"], false, "{path}");
    }
    metered.advance("2026-02-02T00:00:00Z").await;
    metered.call("e2", "1", "2026-02-02T00:00:00Z").await;
    let granted = world.get("/v1/customers/acme/entitlements/calls").await;
    assert_eq!((&granted["limit"], &granted["used"]), (&json!("10"), &json!("2")));
    let usage = world
        .get("/v1/customers/acme/usage?metric=calls&start=2026-02-01T00:00:00Z&end=2026-03-01T00:00:00Z")
        .await;
    assert_eq!(usage["quantity"], "2");
    metered.advance("2026-03-02T00:00:00Z").await;
    metered.call("e3", "1", "2026-03-02T00:00:00Z").await;
    metered.advance("2026-04-01T00:00:00Z").await;

    assert_eq!(metered.lines().await, ["cycle usage 2026-02 2 4.00", "cycle usage 2026-03 1 2.00"],);
    let invoices = world.list("/v1/invoices").await;
    let billed = invoices.iter().find(|invoice| invoice["total"] == "4.00").expect("of February");
    let explained = world.get(&format!("/v1/invoices/{}/explain", text(&billed["id"]))).await;
    assert_eq!(explained["lines"][0]["quantity"], "2", "{explained}");
    let event = world.get("/v1/usage_events/e3/explain").await;
    assert!(event.to_string().contains("calls"), "{event}");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn archiving_twice_is_the_same_as_archiving_once(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    let first = archive(&world, "/v1/plans/plan").await;
    world.clock.advance(chrono::TimeDelta::days(1));

    assert_eq!(archive(&world, "/v1/plans/plan").await, first);
    let told = world.list("/v1/events?type=plan.updated").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["data"]["previous"], json!({"archived_at": null}));
    assert_eq!(told[0]["data"]["object"], first);

    for _ in 0..2 {
        world.post("/v1/plans/plan/unarchive", json!({})).await;
    }
    let told = world.list("/v1/events?type=plan.updated").await;
    assert_eq!((told.len(), &told[0]["data"]["previous"]), (2, &json!({"archived_at": START})));
    archive(&world, "/v1/plans/plan").await;
    assert_eq!(delete(&world, "/v1/plans/plan").await["deleted"], true);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_default_tax_is_taken_out_only_once_it_is_none(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/taxes", json!({"code": "old", "rate": "16", "default": true})).await;
    for request in [world.request("DELETE", "/v1/taxes/old"), world.request("POST", "/v1/taxes/old/archive")]
    {
        let refused = Reply::of(request).await;
        assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("conflict")));
        assert!(refused.text.contains("before it is archived"), "{}", refused.text);
    }
    world.send("PATCH", "/v1/taxes/old", &json!({"default": false})).await.expect(200);
    assert_eq!(delete(&world, "/v1/taxes/old").await["deleted"], false, "invoices may hold it");
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_metric_that_was_there_when_events_came_has_counted_them(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    let metric = |code: &str| json!({"code": code, "event_name": "call", "aggregation": "count"});
    world.create("/v1/metrics", metric("before")).await;
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    let event = |id: &str| json!({"event_id": id, "customer_id": "acme", "event_name": "call"});
    world.post("/v1/usage_events", event("e1")).await;
    world.create("/v1/metrics", metric("after")).await;
    let quantity = async |metric: &str| {
        let usage = world.get(&format!("/v1/customers/acme/usage?metric={metric}")).await;
        text(&usage["quantity"])
    };
    assert_eq!(quantity("after").await, "1");

    assert_eq!(delete(&world, "/v1/metrics/after").await["deleted"], true);
    assert_eq!(delete(&world, "/v1/metrics/before").await["deleted"], false);

    world.post("/v1/usage_events", event("e2")).await;
    world.work().await;
    assert_eq!(quantity("before").await, "2");
    let gone = Reply::of(world.request("GET", "/v1/customers/acme/usage?metric=after")).await;
    assert_eq!(gone.status, 404, "what was remembered of it is forgotten");
    assert!(world.dead_jobs().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_selling_a_plan_and_deleting_it_at_once_one_wins(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    for round in 0..10 {
        let name = round.to_string();
        stock(&world, &name).await;
        let (path, code) = (format!("/v1/plans/plan{name}"), format!("plan{name}"));

        let customer = format!("acme{name}");
        let (removed, sold) = tokio::join!(delete(&world, &path), subscribe(&world, &customer, &code));

        if removed["deleted"] == true {
            assert_eq!((sold.status, sold.errors()), (404, vec!["/plan unknown".to_owned()]));
            assert_eq!(status(&world, &path).await, 404);
        } else {
            assert_eq!(sold.status, 201, "{}", sold.text);
            assert_eq!(world.get(&path).await["archived_at"], START);
        }
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn of_naming_a_metric_or_a_feature_and_deleting_it_at_once_one_wins(
    #[values(Sqlite, Postgres)] on: Engine,
) {
    let Some(world) = World::new(on).await else { return };
    world.create("/v1/customers", json!({"external_id": "acme", "name": "Acme"})).await;
    for round in 0..6 {
        let metric =
            json!({"code": format!("m{round}"), "event_name": "call", "aggregation": "sum", "property": "n"});
        world.create("/v1/metrics", metric).await;
        world.create("/v1/features", json!({"code": format!("f{round}"), "kind": "switch"})).await;
        let price = json!({"code": "t", "kind": "usage", "metric": format!("m{round}"), "group_by": ["region"],
            "model": {"type": "per_unit", "unit_price": "1"}});
        let interval = json!({"unit": "month", "count": 1});
        let plan =
            json!({"code": format!("p{round}"), "currency": "USD", "interval": interval, "prices": [price]});
        let granting = json!({"code": format!("g{round}"), "currency": "USD", "interval": interval,
            "features": [{"feature": format!("f{round}"), "value": true}]});
        let alert =
            json!({"customer": "acme", "metric": format!("m{round}"), "kind": "quantity", "threshold": "1"});
        let event = json!({"event_id": format!("e{round}"), "customer_id": "acme", "event_name": "call",
            "metadata": {"n": 1}});
        let (path, feature) = (format!("/v1/metrics/m{round}"), format!("/v1/features/f{round}"));

        let (no_metric, no_feature, priced, granted, watched, taken) = tokio::join!(
            delete(&world, &path),
            delete(&world, &feature),
            world.send("POST", "/v1/plans", &plan),
            world.send("POST", "/v1/plans", &granting),
            world.send("POST", "/v1/usage_alerts", &alert),
            world.send("POST", "/v1/usage_events", &event),
        );

        taken.expect(200);
        let places = [(&priced, "/prices/0/metric"), (&watched, "/metric")];
        for (named, pointer) in places {
            let lost = [format!("{pointer} unknown"), format!("{pointer} archived")];
            let is_fine = named.status == 201
                || ([404, 422].contains(&named.status) && lost.contains(&named.errors()[0]));
            assert!(is_fine, "{} {}", named.status, named.text);
            assert!(named.status != 201 || no_metric["deleted"] == false, "{no_metric} {}", named.text);
        }
        let (is_granted, is_gone) = (granted.status == 201, no_feature["deleted"] == true);
        assert!(is_granted != is_gone, "{no_feature} {}", granted.text);
        assert!(is_granted || granted.errors() == ["/features/0/feature unknown"], "{}", granted.text);
    }
    world.work().await;
    assert!(world.dead_jobs().await.is_empty());
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_feature_is_renamed_and_stays_what_it_is(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;

    let change = json!({"name": "Chairs", "metadata": {"team": "growth"}});
    let renamed = world.send("PATCH", "/v1/features/seats", &change).await.expect(200);

    assert_eq!(
        (&renamed["name"], &renamed["metadata"], &renamed["kind"]),
        (&json!("Chairs"), &json!({"team": "growth"}), &json!("limit"))
    );
    assert_eq!(world.get("/v1/features/seats").await, renamed);
    for (field, value) in [("kind", "switch"), ("code", "chairs"), ("metric", "tokens")] {
        let refused = world.send("PATCH", "/v1/features/seats", &json!({field: value})).await;
        assert_eq!((refused.status, refused.errors()), (422, vec![format!("/{field} unknown_field")]));
    }
    let blank = world.send("PATCH", "/v1/features/seats", &json!({"name": " "})).await;
    assert_eq!(blank.errors(), ["/name blank"]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_takes_nothing_out_of_the_catalogue(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    let stranger = world.stranger().await;
    for path in ["/v1/metrics/tokens", "/v1/features/seats", "/v1/taxes/vat", "/v1/plans/plan"] {
        let (list, _) = path.rsplit_once('/').unwrap();
        let by_id = format!("{list}/{}", text(&world.get(path).await["id"]));
        for path in [path, &by_id] {
            let requests = [
                world.request_as(&stranger, "DELETE", path),
                world.request_as(&stranger, "POST", &format!("{path}/archive")),
                world.request_as(&stranger, "POST", &format!("{path}/unarchive")),
            ];
            for request in requests {
                assert_eq!(Reply::of(request).await.status, 404, "{path}");
            }
        }
        assert_eq!(world.get(path).await["archived_at"], Value::Null);
    }
}

#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_first_answer(#[values(Sqlite, Postgres)] on: Engine) {
    let Some(world) = World::new(on).await else { return };
    stock(&world, "").await;
    let delete = || Reply::of(world.request("DELETE", "/v1/plans/plan").header("idempotency-key", "k"));

    let (first, again) = (delete().await, delete().await);

    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!((first.text, again.header("idempotent-replayed")), (again.text.clone(), "true"));
}
