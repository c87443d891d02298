# What librdkafka does, for people: appended to the file that VARVE_CLIENT_LOG names, where it does.
import os
import sys


def logged(role, settings):
    path = os.environ.get('VARVE_CLIENT_LOG')
    if path:
        log = os.open('%s.librdkafka-%s' % (path, role), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, sys.stderr.fileno())
        settings['debug'] = 'broker,topic,metadata,msg,fetch,cgrp,protocol,eos'
    return settings
