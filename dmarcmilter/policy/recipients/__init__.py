"""Choices of recipients to be exempt from DMARC enforcement or not; `Recipients.exempt` combines those of a message.

choice reads addresses; choices_file is the file, read again when it changes; database queries in SQL; database_cache
limits the wait for the database, and remembers answers. docs/recipients.md explains.

    by whom             limit                                    protects from
    message             timeout (seconds, all its recipients)    a database that is slow or down holding up mail
                        MAX_RECIPIENTS, MAX_RECIPIENT_BYTES     long lists filling the memory (transaction)
    worker              THREADS                                  a connection for each message in progress
                        MAX_REMEMBERED                           addresses made up to fill the memory
                        HOLD_SECONDS                             waiting again and again for a database that is down
    file                MAX_FILE, MAX_LINE                       a wrong file eating memory and time
                        SETTLE_SECONDS                           a list that is just being written counting as whole

What is not known counts as exempt: such mail is delivered and marked, never refused. Recipients are never stored or
logged.
"""
