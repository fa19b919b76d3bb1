"""The changes and the reply that the MTA is asked for, quarantine marks and the ARC Set."""
