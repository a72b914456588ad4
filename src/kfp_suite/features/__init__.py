"""The feature spec, its operations, and the transform fitted from them."""
