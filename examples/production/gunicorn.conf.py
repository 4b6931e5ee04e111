"""gunicorn --config gunicorn.conf.py --paste production.ini"""

# This machine's address in the private network.
bind = "10.0.0.11:8000"

# Whose X-Forwarded-Proto is believed: the address of the machine with nginx, and no other.
forwarded_allow_ips = "10.0.0.2"

# Two for each core, or as many as the memory has room for.
workers = 4
worker_class = "gthread"
threads = 4

# Longer than any request waits for the storage.
timeout = 30
graceful_timeout = 30

# Without preloading, `systemctl reload shop` takes a new secret or a new version of the code in,
# worker by worker, and no connection is refused meanwhile.
preload_app = False

# Nobody controls it but systemd.
control_socket_disable = True
