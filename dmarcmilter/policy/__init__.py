"""Stages 3 and 4: the facts about an evaluated message, the operator's rules, and the decision."""
