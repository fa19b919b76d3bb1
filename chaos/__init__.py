"""What the filter does when its surroundings fail: faults injected under load, behind a real Postfix.

run         the faults one after the other, a table, and an exit status: `make chaos`
faults      the list: what each needs, does and takes back, and how one sees that it was felt
processes, network, storage, limits, clients
            the faults themselves
stand       name server, next hop, filter and Postfix, made for one fault
mail        the load: SMTP clients that try again until each message has its end
account     what must hold; it looks at what the clients, Postfix, the next hop and the journal saw
"""
