# What dmarcmilter marked goes to the Junk folder: [policy] quarantine_action = "header" or "subject".
#
# The mark can be relied on: dmarcmilter removes the field from all mail that it judges, whoever wrote it, before it
# puts its own in. Mail that it does not judge ([ignore] networks, and clients that log in) must come from people whose
# marks you believe. Change the name here with [quarantine] header_name.
#
# Dovecot, for all users: put this where `sieve_before` looks (conf.d/90-sieve.conf), for instance
#     sieve_before = /etc/dovecot/sieve-before.d
# and compile it: sievec /etc/dovecot/sieve-before.d/quarantine.sieve
require ["fileinto", "mailbox"];

if header :is "X-DMARC-Quarantine" "yes" {
    fileinto :create "Junk";
    # A rule of the user's own cannot bring it back into the inbox.
    stop;
}
