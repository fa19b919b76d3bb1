"""dmarcmilter: inbound DMARC enforcement for Postfix and Sendmail.

The map, in the order a message goes. Start with pipeline.

The way in
    callbacks       libmilter's callbacks reach the Session of their connection
    session         SMTP callbacks to an Examination; Actions to the MTA
    failsafe        what our own bugs, and a want of memory, may do to a message: nothing but put it off
    negotiation     what is agreed with the MTA: actions, steps, macros
    collector       header fields as they come, within limits
    trace           the way of a message as debug lines
    turns           one message at a time works, the others wait
    service         what the sessions of one worker share
    smtppath        the reader of forward-paths and reverse-paths: Mailbox
    message         what the MTA said: Header, Envelope, Message
    examination     one message: questions asked early, body hashed as it comes, then judged
    pipeline        process(message, reading, lookup, site) -> Outcome: gather, decide

Gather
    lookup          all the DNS that the core knows: Answer, Status, Lookup
    resolver        the one resolver: cache, budget, prefetch, coalescing
    evidence        what the checks found: SpfResult, DkimResult, ArcResult, Evidence
    checks          spf (over pyspf), dkim and arc (our verifier over signature), clientname (DNS in both directions)
    dmarc           domain, author, record, discovery, suffixes, alignment, evaluation (RFC 9989 step by step)

Decide
    rules           the words of enforcement: choices, actions, overrides
    sampling        the draws for pct and for the rollout
    case            the facts of one message that a rule may look at
    recipients      who has opted out: from a file, or in SQL
    deferral        how long a message has been deferred already
    entries         the operator's [[override]] entries
    speaking        what speaks for a message that fails
    policy          their order, and the operator's limits: to a Decision

Act
    messageid       the Message-ID as a keyed hash, to search by
    outcome         our whole answer; journal record and log line are views of it
    authres         Authentication-Results: render ours, recognise forged ones
    authresreader   reads the results that a trusted sealer recorded
    actions         an Outcome to ordered MTA actions
    mtaactions      what these can be
    marking         quarantine: held, marked, the subject tagged, or another mailbox
    replies         refusals and deferrals in words
    execution       MTA actions to calls of libmilter
    arcseal         an ARC Set for what is forwarded: when, made by dkimpy, the key
    explanation     an outcome record in plain sentences, in English and Japanese: found, decided, what can be done
    replay          an outcome record judged again by other rules
    history         journal: one line an outcome, before the reply; ingest: from there into the store; stats, page;
                    search: backwards through the journal; replayed: many records judged again

Around
    cli             the commands
    settings        the schema of the conf file
    config          reads and checks it
    endpoint        addresses in it
    advice          what may be wrong with it all the same, on this machine; live: tried out
    opendmarc       coming from OpenDMARC: its conf file, its history
    site            the files and names that it speaks of, resolved once
    keyfile         secrets in files, made at the first start
    daemon          the supervisor: signals, workers, reload
    children        forking
    running         the conf file of a running filter, by its process id
    privileges      the user that the filter runs as, and that its files are nobody else's
    exposure        files of ours that others could read all the same
    lifesigns       silent workers are ended; the service manager's watchdog
    exporting       the supervisor's hold on the metrics' process
    worker          one worker process: libmilter's loop, the drain
    listener        the socket, bound once
    log_output      log lines to standard error, systemd's journal or syslog
    notify          readiness for the service manager
    mailnames       the domain in an address, a URL or the name of a record
    mbox            messages in a file, one after the other
    received        Received fields: the client, and the host that wrote it
    mailfile        a message in a file, cut as an MTA would
    holdqueue       Postfix's hold queue: what is held, released, deleted
    metrics         what is counted, and Prometheus's endpoint
    health          whether all of it works: socket, workers, name servers, journal, ingest
    demo            the demonstration, with its name server and its MTA
    reports         run: from end to end; planning: due days; grouping, row: outcomes to rows; aggregate: the XML;
                    message, destinations, verifying, sending, delivery: the mail; fairness: turns of organizations;
                    ledger, book: what was done; standing: suppressions; bounces; reasons: what they may tell;
                    failure: of one message, by capture (in the filter), redaction, spool, merging, failuremail
"""
