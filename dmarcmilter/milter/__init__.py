"""The milter protocol side: libmilter's callbacks, one session a connection, one transaction a message."""
