"""An outcome record in plain sentences: what was found, which rule decided, what can be done about it."""

from typing import Any

Record = dict[str, Any]


def explain(record: Record) -> list[str]:
    """Sentences for the administrator, from the outcome object of the journal or of `check`."""
    return [*_author(record), *_spf(record), *_dkim(record), *_arc(record), *_policy(record), *_verdict(record)]


def _author(record: Record) -> list[str]:
    if record["author_domain"]:
        return [f"The message is From {record['author_domain']}: that domain's DMARC policy is the one to apply."]
    return [f"The From field names no single Author Domain ({record['author_problem']}): DMARC cannot be evaluated."]


def _spf(record: Record) -> list[str]:
    spf = record["spf"]
    if spf["domain"] is None:
        return [f"SPF: {spf['result']}; {spf['reason'] or 'there was no domain to check'}."]
    source = "HELO, since the sender is null" if spf["scope"] == "helo" else "MAIL FROM"
    because = f" ({spf['reason']})" if spf["reason"] else ""
    return [f"SPF: {spf['result']} for {spf['domain']} of {source}{because}."]


def _dkim(record: Record) -> list[str]:
    if not record["dkim"]:
        return ["DKIM: the message has no signature."]
    return [
        f"DKIM: {found['result']} for {found['domain'] or 'an unreadable domain'}"
        + (f", selector {found['selector']}" if found["selector"] else "")
        + (f" ({found['reason']})" if found["reason"] else "")
        + "."
        for found in record["dkim"]
    ]


def _arc(record: Record) -> list[str]:
    arc = record["arc"]
    if arc["result"] == "none":
        return []
    if arc["result"] == "fail":
        return [f"ARC: the chain fails ({arc['reason']}), which counts as no chain."]
    sealers = ", ".join(sealer["domain"] for sealer in arc["sealers"])
    return [f"ARC: the chain passes; sealed by {sealers} (newest first)."]


def _policy(record: Record) -> list[str]:
    policy, dmarc = record["policy"], record["dmarc"]
    if policy is None:
        return ["No DMARC policy was found."] if record["author_domain"] and dmarc["result"] == "none" else []
    found = f"The policy comes from _dmarc.{policy['domain']}: {policy['record']}"
    if dmarc["tag"] is None:
        return [found]
    return [found, f"It asks for {dmarc['tag']}={dmarc['published']} when a message fails."]


def _verdict(record: Record) -> list[str]:
    dmarc = record["dmarc"]
    said = {
        "pass": "DMARC passes: "
        + " and ".join(f"{a['mechanism'].upper()} of {a['domain']}" for a in dmarc["aligned"])
        + f" {'are' if len(dmarc['aligned']) > 1 else 'is'} aligned with the Author Domain.",
        "fail": f"DMARC fails: {dmarc['reason'] or 'no authenticated identifier is aligned with the Author Domain'}.",
        "none": f"DMARC does not apply: {dmarc['reason'] or 'there is no policy'}.",
        "temperror": f"DMARC cannot be evaluated now: {dmarc['reason']}.",
        "permerror": f"DMARC cannot be evaluated: {dmarc['reason'] or record['author_problem']}.",
    }[dmarc["result"]]
    sentences = [said]
    sentences += [f"Overridden ({found['type']}): {found['comment']}." for found in record["overrides"]]
    done = {
        "accept": "The message is accepted.",
        "quarantine": "The message is put on hold.",
        "reject": "The message is refused.",
        "tempfail": "The message is deferred; the client will try again.",
    }
    if record["disposition"] == "quarantine" and record["action"] == "accept":
        done["accept"] = "The message is delivered, marked as quarantined in Authentication-Results."
    sentences.append(done[record["action"]])
    if record["would"] != record["action"]:
        sentences.append(f"In mode enforce the MTA would be told: {record['would']}.")
    return sentences
