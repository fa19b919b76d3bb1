"""A milter client and a DNS server to test a milter with, without an MTA and without the Internet. Public.

    from dmarcmilter.testing.milter_client import Action, MilterClient
    from dmarcmilter.testing.name_server import NameServer

    zone = {"_dmarc.example.com": {"TXT": "v=DMARC1; p=reject"}}
    with NameServer(zone) as dns:  # the milter's resolver is to ask 127.0.0.1, port dns.port
        with MilterClient("unix:/run/dmarcmilter/dmarcmilter.sock") as client:
            verdict = client.deliver(message, client_ip="192.0.2.1", helo="mx.example", mail_from="a@b.example")
            assert verdict.action is Action.REJECT

milter_client       delivers messages to any milter as Postfix does, and tells what would become of each
milter_connection   the connection below it, for packets that no MTA would send
name_server         an authoritative DNS server on loopback that can misbehave in many ways
zone                its zone, written as a table

The tests, the demonstration, the fuzzer, the fault kit and the benchmarks of this project use nothing else in place of
an MTA or of DNS. Names in this package change only with an entry in the CHANGELOG.
"""
