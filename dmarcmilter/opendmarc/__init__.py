"""Coming from OpenDMARC: its conf file to ours, its history file into our store.

keys            what becomes of each of its settings, in one table
conffile        its conf file, read
hosts           its lists of hosts
convert         settings to our conf file, with a note for each
historyfile     its history file, cut into records
historyrecord   one record to an outcome object
importer        those into the store, each once
"""
