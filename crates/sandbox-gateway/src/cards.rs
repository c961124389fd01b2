//! What each test token does. They decide; they store nothing.

use Behaviour::*;

/// A card that a token stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Card {
    pub(crate) token: &'static str,
    pub(crate) brand: &'static str,
    pub(crate) last4: &'static str,
    pub(crate) behaviour: Behaviour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Approve,
    Decline(&'static str),
    /// The first charges of the method lack funds, later ones are approved.
    DeclineFirst {
        declines: i64,
    },
    /// The bank wants the customer's consent, each time.
    RequireAction,
    TimeoutAfterAccept,
    TimeoutBeforeAccept,
    Slow,
    Unavailable,
    Pending,
    Dispute,
    InvalidRequest,
}

/// What the bank says to one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Approve,
    Decline(&'static str),
    RequireAction,
    Pending,
}

pub(crate) const INSUFFICIENT_FUNDS: &str = "insufficient_funds";
pub(crate) const AUTHENTICATION_REQUIRED: &str = "authentication_required";
pub(crate) const AUTHENTICATION_FAILED: &str = "authentication_failed";

const CARDS: &[Card] = &[
    visa("tok_visa", "4242", Approve),
    Card { token: "tok_mastercard", brand: "mastercard", last4: "4444", behaviour: Approve },
    visa("tok_decline_insufficient_funds", "9995", Decline(INSUFFICIENT_FUNDS)),
    visa("tok_decline_stolen", "9979", Decline("stolen_card")),
    visa("tok_decline_expired_card", "0069", Decline("expired_card")),
    visa("tok_decline_do_not_honor", "0002", Decline("do_not_honor")),
    visa("tok_decline_fraudulent", "0019", Decline("fraudulent")),
    visa("tok_decline_merchant_blocked", "0020", Decline("merchant_blocked")),
    visa("tok_decline_then_ok", "0341", DeclineFirst { declines: 1 }),
    visa("tok_decline_twice_then_ok", "0342", DeclineFirst { declines: 2 }),
    visa("tok_requires_action", "3184", RequireAction),
    visa("tok_timeout_after_accept", "0501", TimeoutAfterAccept),
    visa("tok_timeout_before_accept", "0502", TimeoutBeforeAccept),
    visa("tok_slow", "0503", Slow),
    visa("tok_unavailable", "0504", Unavailable),
    visa("tok_pending", "0505", Pending),
    visa("tok_dispute", "0259", Dispute),
    visa("tok_invalid_request", "0400", InvalidRequest),
];

/// The tokens that can be attached.
pub fn tokens() -> impl Iterator<Item = &'static str> {
    CARDS.iter().map(|card| card.token)
}

pub(crate) fn find(token: &str) -> Option<&'static Card> {
    CARDS.iter().find(|card| card.token == token)
}

impl Behaviour {
    /// What the bank says to the method's charge number `attempt`, counted from 1.
    pub(crate) fn verdict(self, attempt: i64, off_session: bool) -> Verdict {
        match self {
            Decline(code) => Verdict::Decline(code),
            DeclineFirst { declines } if attempt <= declines => Verdict::Decline(INSUFFICIENT_FUNDS),
            RequireAction if off_session => Verdict::Decline(AUTHENTICATION_REQUIRED),
            RequireAction => Verdict::RequireAction,
            Pending => Verdict::Pending,
            Approve
            | DeclineFirst { .. }
            | TimeoutAfterAccept
            | TimeoutBeforeAccept
            | Slow
            | Unavailable
            | Dispute
            | InvalidRequest => Verdict::Approve,
        }
    }
}

const fn visa(token: &'static str, last4: &'static str, behaviour: Behaviour) -> Card {
    Card { token, brand: "visa", last4, behaviour }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_token_is_listed_once() {
        assert_eq!(tokens().collect::<BTreeSet<_>>().len(), CARDS.len());
    }
}
