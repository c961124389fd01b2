//! A worked question and answer per calculator, as the API's documentation shows them. A test asks each question and
//! compares.

use serde_json::{Value, json};

/// 15 units: ten at 1, five at 0.10, and a minimum of 20.
pub(super) fn amount() -> (Value, Value) {
    let question = json!({
        "currency": "USD",
        "model": {"type": "graduated", "tiers": [
            {"up_to": "10", "unit_price": "1", "flat_fee": "0"},
            {"up_to": null, "unit_price": "0.1", "flat_fee": "2"},
        ]},
        "quantity": "15",
        "minimum_amount": "20",
    });
    let answer = json!({
        "exact_amount": "12.5", "amount": "12.50", "true_up": "7.50", "currency": "USD",
        "tiers": [
            {"up_to": "10", "quantity": "10", "unit_price": "1", "flat_fee": "0", "amount": "10"},
            {"up_to": null, "quantity": "5", "unit_price": "0.1", "flat_fee": "2", "amount": "2.5"},
        ],
    });
    (question, answer)
}

/// Tokens by region. The second event is repeated, and the last belongs to the next period.
pub(super) fn usage() -> (Value, Value) {
    let event = |id: &str, timestamp: &str, properties: Value| json!({"id": id, "timestamp": timestamp, "properties": properties});
    let question = json!({
        "metric": {"code": "tokens", "aggregation": "sum", "property": "tokens"},
        "period": {"start": "2026-01-01T00:00:00Z", "end": "2026-02-01T00:00:00Z"},
        "group_by": ["region"],
        "events": [
            event("1", "2026-01-05T08:00:00Z", json!({"tokens": 1200, "region": "eu"})),
            event("2", "2026-01-09T10:30:00Z", json!({"tokens": "300.5", "region": "us"})),
            event("2", "2026-01-09T10:30:00Z", json!({"tokens": "300.5", "region": "us"})),
            event("3", "2026-01-20T23:59:59Z", json!({"tokens": 99})),
            event("4", "2026-02-01T00:00:00Z", json!({"tokens": 7, "region": "eu"})),
        ],
    });
    let answer = json!({
        "quantity": "1599.5",
        "groups": [
            {"key": {"region": null}, "quantity": "99"},
            {"key": {"region": "eu"}, "quantity": "1200"},
            {"key": {"region": "us"}, "quantity": "300.5"},
        ],
    });
    (question, answer)
}

/// From 31 January in New York: the day is clamped to the month, the hour follows the wall clock.
pub(super) fn periods() -> (Value, Value) {
    let question = json!({
        "interval": {"unit": "month", "count": 1},
        "alignment": "anniversary",
        "anchor": "2026-01-31T09:00:00-05:00",
        "timezone": "America/New_York",
        "count": 3,
    });
    let answer = json!({
        "anchor_day": 31,
        "periods": [
            {"start": "2026-01-31T14:00:00Z", "end": "2026-02-28T14:00:00Z"},
            {"start": "2026-02-28T14:00:00Z", "end": "2026-03-31T13:00:00Z"},
            {"start": "2026-03-31T13:00:00Z", "end": "2026-04-30T13:00:00Z"},
        ],
    });
    (question, answer)
}

/// From five seats to ten on day 16 of 30.
pub(super) fn proration() -> (Value, Value) {
    let question = json!({
        "currency": "USD",
        "basis": "day",
        "timezone": "UTC",
        "period": {"start": "2026-04-01T00:00:00Z", "end": "2026-05-01T00:00:00Z"},
        "change_at": "2026-04-16T09:30:00Z",
        "old": {"amount": "20", "quantity": "5"},
        "new": {"amount": "20", "quantity": "10"},
    });
    let answer = json!({
        "credit": "-50.00", "charge": "100.00", "net": "50.00",
        "fraction": {"numerator": 15, "denominator": 30},
    });
    (question, answer)
}

/// A coupon of ten per cent, tax on one of two lines, and a wallet that pays a part.
pub(super) fn invoice() -> (Value, Value) {
    let question = json!({
        "currency": "EUR",
        "tax_rounding": "rate",
        "lines": [
            {"id": "seats", "amount": "60", "tax_rates": ["20"]},
            {"id": "usage", "amount": "19.996", "tax_rates": []},
        ],
        "coupons": [{"type": "percent", "percent": "10"}],
        "wallets": [{"balance": "30.00", "priority": 1}],
    });
    let answer = json!({
        "subtotal": "80.00", "discount_total": "8.00", "taxable": "72.00", "tax_total": "10.80", "total": "82.80",
        "credit_notes_applied": "0.00", "balance_applied": "0.00", "wallets_applied": "30.00",
        "amount_due": "52.80",
        "lines": [
            {"id": "seats", "amount": "60.00", "discount": "6.00", "taxable": "54.00", "tax": "10.80"},
            {"id": "usage", "amount": "20.00", "discount": "2.00", "taxable": "18.00", "tax": "0.00"},
        ],
    });
    (question, answer)
}

/// A grant that expires burns first; the reset halfway leaves the other what it may keep.
pub(super) fn credits() -> (Value, Value) {
    let question = json!({
        "start": "2026-01-01T00:00:00Z",
        "at": "2026-02-01T00:00:00Z",
        "grants": [
            {"id": "monthly", "amount": "100", "priority": 1, "effective_at": "2026-01-01T00:00:00Z",
                "rollover": {"min": "0", "max": "50"}},
            {"id": "trial", "amount": "20", "priority": 1, "effective_at": "2026-01-01T00:00:00Z",
                "expires_at": "2026-01-15T00:00:00Z"},
        ],
        "usage": [
            {"timestamp": "2026-01-03T12:00:00Z", "amount": "30"},
            {"timestamp": "2026-01-20T12:00:00Z", "amount": "12.5"},
        ],
        "resets": ["2026-01-16T00:00:00Z"],
    });
    let answer = json!({
        "balances": {"monthly": "37.5", "trial": "0"},
        "overage": "0", "has_access": true, "usage_in_period": "12.5",
    });
    (question, answer)
}
