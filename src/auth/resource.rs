//! What keys can be restricted to. A handler names its resource in its type, so none can forget to ask.

/// Something that a key may read, or write.
pub trait Resource: 'static {
    const NAME: &'static str;
}

macro_rules! resources {
    ($($name:ident $scope:literal $doc:literal;)*) => {
        $(
            #[doc = $doc]
            #[derive(Debug)]
            pub struct $name;
            impl Resource for $name {
                const NAME: &'static str = $scope;
            }
        )*

        /// Every resource's name; a scope is `name:read`, `name:write`, or `name` for both.
        pub const SCOPES: &[&str] = &[$($scope),*];
    };
}

resources! {
    Account "account" "The account's own settings, keys, audit log, jobs and sweeps.";
    Calculate "calculate" "The calculators, which read and write nothing.";
    Catalog "catalog" "Metrics, features, taxes and plans.";
    Clocks "clocks" "Test clocks.";
    Customers "customers" "Customers and their payment methods.";
    Entitlements "entitlements" "What customers may use.";
    Issuers "issuers" "The legal entities in whose name invoices are issued.";
    Invoices "invoices" "Invoices and their documents.";
    Ledger "ledger" "The books.";
    Payments "payments" "Payments, refunds and dunning.";
    Subscriptions "subscriptions" "Subscriptions.";
    Usage "usage" "Usage events.";
    UsageAlerts "usage_alerts" "Alerts on thresholds of usage.";
    UsageCorrections "usage_corrections" "Taking usage events back and changing them.";
    Webhooks "webhooks" "Webhook endpoints, deliveries and the event log.";
}
