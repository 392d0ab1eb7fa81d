"""What run.sh asks of python-zeroconf. Exit 0 when it is so."""

import signal
import socket
import sys
import threading
import time

from zeroconf import IPVersion, NonUniqueNameException, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf

SERVICE = "_openclaw-gw._tcp.local."


class Seen(ServiceListener):
    def __init__(self):
        self.added, self.removed = threading.Event(), threading.Event()

    def add_service(self, zc, kind, name):
        self.added.set()

    def update_service(self, zc, kind, name):
        pass

    def remove_service(self, zc, kind, name):
        self.removed.set()


def finds(zc, instance, port):
    seen = Seen()
    ServiceBrowser(zc, SERVICE, seen)
    assert seen.added.wait(5), "nobody is found"
    info = zc.get_service_info(SERVICE, f"{instance}.{SERVICE}", 3000)
    assert info, f"{instance} tells nothing"
    txt = info.decoded_properties
    print("found:", info.name, info.server, info.port, info.parsed_addresses(), txt)
    assert (info.port, info.server) == (int(port), "openclaw.local.")
    assert "10.77.0.1" in info.parsed_addresses(IPVersion.V4Only)
    assert any(a.startswith("fe80::") for a in info.parsed_addresses(IPVersion.V6Only))
    assert (txt["role"], txt["transport"], txt["gatewayPort"], txt["lanHost"]) == (
        "gateway", "gateway", port, "openclaw.local")
    assert txt["cliPath"] and txt["sshPort"] == "22"
    mine = ServiceInfo(SERVICE, f"{instance}.{SERVICE}", addresses=[socket.inet_aton("10.77.0.2")], port=1,
                       server="thief.local.")
    try:
        zc.register_service(mine)
    except NonUniqueNameException:
        print("defended:", info.name)
    else:
        raise AssertionError("the name of a live gateway was taken")


def announces(zc):
    info = ServiceInfo(SERVICE, f"other.{SERVICE}", addresses=[socket.inet_aton("10.77.0.2")], port=18790,
                       properties={"role": "gateway", "displayName": "other"}, server="other.local.")
    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    zc.register_service(info)
    print("announced", flush=True)
    stop.wait(60)
    zc.unregister_service(info)


def sees_goodbye(zc):
    seen = Seen()
    ServiceBrowser(zc, SERVICE, seen)
    assert seen.added.wait(5), "nobody is found"
    print("seen", flush=True)
    begun = time.monotonic()
    assert seen.removed.wait(30), "no goodbye"
    print(f"goodbye after {time.monotonic() - begun:.1f} s")


zeroconf = Zeroconf(ip_version=IPVersion.All)
try:
    match sys.argv[1:]:
        case ["finds", instance, port]:
            finds(zeroconf, instance, port)
        case ["announces"]:
            announces(zeroconf)
        case ["sees-goodbye"]:
            sees_goodbye(zeroconf)
        case _:
            sys.exit("finds INSTANCE PORT | announces | sees-goodbye")
finally:
    zeroconf.close()
