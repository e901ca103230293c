"""python-nomad against a running gateway: what scripts do with it. One line a check, exit status 1 when one fails.

NOMAD_ADDR and NOMAD_TOKEN say where; every check states what it must see.
"""

import os
import sys
import time
import urllib.parse

import nomad

PATIENCE = 20

address = urllib.parse.urlparse(os.environ["NOMAD_ADDR"])


def connect(token):
    return nomad.Nomad(host=address.hostname, port=address.port, token=token, timeout=PATIENCE)


client = connect(os.environ["NOMAD_TOKEN"])
allocations = {stub["JobID"]: stub for stub in client.allocations.get_allocations(namespace="*")}
web = allocations["web"]["ID"]
report = allocations["report"]["ID"]
chatter = allocations["chatter"]["ID"]
node_id = allocations["web"]["NodeID"]


def until(look):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if look():
            return
        time.sleep(0.1)
    raise AssertionError("not seen in time")


def nodes():
    assert len(client.nodes.get_nodes()) == 2
    assert client.node.get_node(node_id)["Status"] == "ready"
    assert len(client.node.get_allocations(node_id)) == 2
    assert node_id in client.nodes
    assert [node["ID"] for node in client.nodes.get_nodes(prefix=node_id[:8])] == [node_id]


def allocation_documents():
    assert sorted(allocations) == ["chatter", "ledger", "report", "web"]
    assert client.allocation.get_allocation(web)["Job"]["ID"] == "web"
    assert web in client.allocation
    assert [one["ID"] for one in client.allocations.get_allocations(prefix=web[:8])] == [web]
    assert [one["JobID"] for one in client.allocations.get_allocations(filter_='JobID == "web"')] == ["web"]


def files():
    names = [entry["Name"] for entry in client.client.ls.list_files(id_=web, path="/alloc/data")]
    assert "дорога.txt" in names, names
    assert client.client.stat.stat_file(id_=web, path="/alloc/data/hello.txt")["Size"] == 18
    assert client.client.cat.read_file(id_=web, path="/alloc/data/hello.txt") == "Hello from serai.\n"
    awkward = client.client.cat.read_file(id_=web, path="/alloc/data/awkward name & 100%.txt")
    assert awkward.startswith("a name with blanks"), awkward
    part = client.client.read_at.read_file_offset(web, 6, 4, "/alloc/data/hello.txt")
    assert part == "from", part


def logs():
    text = client.client.stream_logs.stream(report, "print", "stdout", plain=True)
    assert text == "the report is done\n", text


def stats():
    assert client.client.stats.read_stats(node_id=node_id)["Memory"]["Total"] > 0
    assert client.client.allocation.read_allocation_stats(web)["Tasks"]["server"]


def talk():
    return client.client.stream_logs.stream(chatter, "talk", "stdout", plain=True)


def signal():
    client.client.allocation.signal_allocation(chatter, "SIGUSR1", task="talk")
    until(lambda: "talk: got SIGUSR1\n" in talk())


def restart():
    client.client.allocation.restart_allocation(chatter)
    until(lambda: "talk: goodbye\n" in talk())


def stop():
    answer = client.allocation.stop_allocation(report)
    assert client.evaluation.get_evaluation(answer["EvalID"])["Status"] == "complete"
    client.client.gc_all_allocations.garbage_collect(node_id=node_id)


def jobs():
    assert "web" in client.jobs
    assert client.job.get_job("web")["TaskGroups"][0]["Name"] == "site"
    assert [one["ID"] for one in client.job.get_allocations("web")] == [web]


def cluster():
    assert client.agent.get_members()["Members"][0]["Status"] == "alive"
    assert client.agent.get_agent()["member"]["Name"]
    assert client.status.leader.get_leader()
    assert client.regions.get_regions() == ["global"]
    assert client.search.search(web[:6], "allocs")["Matches"]["allocs"] == [web]
    assert "finance" in [one["Name"] for one in client.namespaces.get_namespaces()]


def refusals():
    def refused(kind, call, words=None):
        try:
            call()
        except kind as error:
            assert words is None or words in error.nomad_resp.text, error.nomad_resp.text
            return
        raise AssertionError(f"not refused with {kind.__name__}")

    errors = nomad.api.exceptions
    missing = "00000000-0000-4000-8000-000000000000"
    refused(errors.URLNotFoundNomadException, lambda: client.allocation.get_allocation(missing))
    refused(
        errors.URLNotFoundNomadException,
        lambda: client.client.stat.stat_file(id_=web, path="/alloc/nope"),
        "no such file or directory",
    )
    stranger = connect("00000000-0000-4000-8000-00000000000f")
    refused(
        errors.URLNotAuthorizedNomadException,
        lambda: stranger.client.cat.read_file(id_=web, path="/alloc/data/hello.txt"),
        "Permission denied",
    )


failed = 0
for check in (nodes, allocation_documents, files, logs, stats, jobs, cluster, refusals, signal, restart, stop):
    try:
        check()
        print(f"ok   {check.__name__}")
    except Exception as error:  # a check may fail in any way; each is told
        failed += 1
        print(f"FAIL {check.__name__}: {type(error).__name__}: {error}")
sys.exit(1 if failed else 0)
