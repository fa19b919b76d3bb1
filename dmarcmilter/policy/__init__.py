"""What the Mail Receiver does with a message that was evaluated: rules, overrides, mitigations, decision."""
