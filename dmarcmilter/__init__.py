"""dmarcmilter: inbound DMARC enforcement for Postfix and Sendmail.

The map, in the order a message goes. Start with pipeline.

The way in
    callbacks       libmilter's callbacks reach the Session of their connection
    session         SMTP callbacks to an Examination; Actions to the MTA; the failsafe
    negotiation     what is agreed with the MTA: actions, steps, macros
    collector       header fields as they come, within limits
    turns           one message at a time works, the others wait
    service         what the sessions of one worker share
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
    entries         the operator's [[override]] entries
    speaking        what speaks for a message that fails
    policy          their order, and the operator's limits: to a Decision

Act
    outcome         our whole answer; journal record and log line are views of it
    authres         Authentication-Results: render ours, recognise forged ones
    authresreader   reads the results that a trusted sealer recorded
    actions         an Outcome to ordered MTA actions
    explanation     an outcome record in plain sentences
    history         journal: one line an outcome, before the reply; ingest: from there into the store; stats, page

Around
    cli             the commands
    settings        the schema of the conf file
    config          reads and checks it
    endpoint        addresses in it
    advice          warnings about it
    site            the files and names that it speaks of, resolved once
    keyfile         secrets in files, made at the first start
    daemon          the supervisor: signals, workers, reload
    worker          one worker process: libmilter's loop, the drain
    listener        the socket, bound once
    notify          readiness for the service manager
    mailfile        a message in a file, cut as an MTA would
    demo            the demonstration, with its name server and its MTA
    reports         run: from end to end; planning: due days; grouping: outcomes to rows; aggregate: the XML;
                    message, destinations, sending, delivery: the mail; ledger: what was done; failure: of one message
"""
