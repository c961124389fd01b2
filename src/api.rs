//! Mounts each capability's routes and collects the OpenAPI document. A list, no logic.
