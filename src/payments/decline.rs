//! What the codes of the card networks and banks mean for what comes next.

use super::model::DeclineClass::{self, Hard, NeedsAction, OurFault, Soft};

/// There was nothing to charge.
pub const NO_PAYMENT_METHOD: &str = "no_payment_method";
/// The gateway refused our request as such.
pub const INVALID_REQUEST: &str = "invalid_request";
/// The bank wants the customer's consent.
pub const AUTHENTICATION_REQUIRED: &str = "authentication_required";

const CLASSES: &[(&str, DeclineClass)] = &[
    ("account_closed", Hard),
    ("card_not_supported", Hard),
    ("debit_not_authorized", Hard),
    ("expired_card", Hard),
    ("fraudulent", Hard),
    ("incorrect_number", Hard),
    ("invalid_account", Hard),
    ("invalid_expiry", Hard),
    ("invalid_number", Hard),
    ("lost_card", Hard),
    ("mandate_revoked", Hard),
    (NO_PAYMENT_METHOD, Hard),
    ("pickup_card", Hard),
    ("restricted_card", Hard),
    ("revocation_of_all_authorizations", Hard),
    ("revocation_of_authorization", Hard),
    ("security_violation", Hard),
    ("stolen_card", Hard),
    ("stop_payment_order", Hard),
    ("transaction_not_allowed", Hard),
    ("call_issuer", Soft),
    ("card_declined", Soft),
    ("card_velocity_exceeded", Soft),
    ("do_not_honor", Soft),
    ("generic_decline", Soft),
    ("insufficient_funds", Soft),
    ("issuer_not_available", Soft),
    ("no_action_taken", Soft),
    ("processing_error", Soft),
    ("reenter_transaction", Soft),
    ("try_again_later", Soft),
    ("withdrawal_count_limit_exceeded", Soft),
    ("approve_with_id", NeedsAction),
    ("authentication_failed", NeedsAction),
    (AUTHENTICATION_REQUIRED, NeedsAction),
    ("offline_pin_required", NeedsAction),
    ("online_or_offline_pin_required", NeedsAction),
    ("configuration_error", OurFault),
    ("currency_not_supported", OurFault),
    ("duplicate_transaction", OurFault),
    ("invalid_amount", OurFault),
    (INVALID_REQUEST, OurFault),
    ("merchant_blocked", OurFault),
];

/// What a decline means (RULES 45). A code that nobody knows may pass by itself.
pub fn classify(code: &str) -> DeclineClass {
    CLASSES.iter().find(|(known, _)| *known == code).map_or(Soft, |(_, class)| *class)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_stands_in_the_table_once() {
        let codes: BTreeSet<_> = CLASSES.iter().map(|(code, _)| code).collect();
        assert_eq!(codes.len(), CLASSES.len());
    }

    #[test]
    fn a_stolen_card_is_never_tried_again_and_an_empty_one_is() {
        assert_eq!(classify("stolen_card"), Hard);
        assert_eq!(classify("insufficient_funds"), Soft);
        assert_eq!(classify("authentication_required"), NeedsAction);
        assert_eq!(classify("invalid_request"), OurFault);
    }

    #[test]
    fn a_code_that_nobody_knows_is_soft() {
        assert_eq!(classify("moon_in_the_wrong_house"), Soft);
    }
}
