# Files mail that dmarcmilter marked into the Junk folder, for [policy] quarantine_action = "header" or "subject".
#
# The mark is reliable: dmarcmilter removes the field from all mail that it evaluates before it adds its own. Other mail
# ([ignore] networks, and clients that log in) keeps the field. If you change [quarantine] header_name, change it here.
#
# Dovecot, for all users: put this where `sieve_before` looks (conf.d/90-sieve.conf), for instance
#     sieve_before = /etc/dovecot/sieve-before.d
# and compile it: sievec /etc/dovecot/sieve-before.d/quarantine.sieve
require ["fileinto", "mailbox"];

if header :is "X-DMARC-Quarantine" "yes" {
    fileinto :create "Junk";
    # The user's own rules cannot bring it back into the inbox.
    stop;
}
