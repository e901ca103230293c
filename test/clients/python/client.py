"""python-nomad, unmodified: what scripts do with it. One line a check, exit status 1 when one fails.

NOMAD_ADDR and NOMAD_TOKEN say where, the first argument what is there (see Places in ../go/main.go). Every check states
what it must see; with `--show` its line is a document that has what the calls gave.
"""

import json
import os
import sys
import time
import urllib.parse

import nomad

PATIENCE = 20
UNKNOWN = "99999999-9999-4999-8999-999999999999"

address = urllib.parse.urlparse(os.environ["NOMAD_ADDR"])
places = json.loads(sys.argv[1])
show = "--show" in sys.argv


def connect(token):
    return nomad.Nomad(host=address.hostname, port=address.port, token=token, timeout=PATIENCE)


client = connect(os.environ["NOMAD_TOKEN"])
node_id = places["Node"]
cluster = places["Cluster"]
files_of = places["Files"]
talker = places["Talker"]
done = places["Done"]
errors = nomad.api.exceptions
seen = []


def see(*values):
    seen.extend(values)
    return values[-1]


def refused(kind, call, words=None):
    try:
        call()
    except kind as error:
        text = see(error.nomad_resp.text)
        assert words is None or words in text, text
        return
    raise AssertionError(f"not refused with {kind.__name__}")


def until(look):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("not seen in time")


def nodes():
    assert node_id in [one["ID"] for one in see(client.nodes.get_nodes())]
    assert see(client.node.get_node(node_id))["Status"] == "ready"
    assert talker["Alloc"] in [one["ID"] for one in client.node.get_allocations(node_id)]
    assert node_id in client.nodes
    assert [one["ID"] for one in see(client.nodes.get_nodes(prefix=node_id[:8]))] == [node_id]


def allocation_documents():
    mine = talker["Alloc"]
    assert see(client.allocation.get_allocation(mine))["Job"]["ID"] == talker["Job"]
    assert mine in client.allocation
    assert [one["ID"] for one in see(client.allocations.get_allocations(prefix=mine[:8]))] == [mine]
    running = f'JobID == "{talker["Job"]}" and ClientStatus == "running"'
    assert [one["ID"] for one in see(client.allocations.get_allocations(filter_=running, namespace="*"))] == [mine]
    refused(errors.URLNotFoundNomadException, lambda: client.allocation.get_allocation(UNKNOWN))


def files():
    where, path = files_of["Alloc"], files_of["Path"]
    content = files_of["Contents"][path]
    names = [entry["Name"] for entry in see(client.client.ls.list_files(id_=where, path=files_of["Directory"]))]
    assert {name.rsplit("/", 1)[1] for name in files_of["Contents"]} <= set(names), names
    assert see(client.client.stat.stat_file(id_=where, path=path))["Size"] == len(content)
    for name, text in sorted(files_of["Contents"].items()):
        assert see(client.client.cat.read_file(id_=where, path=name)) == text, name
    assert see(client.client.read_at.read_file_offset(where, 6, 4, path)) == "from"
    nothing = files_of["Directory"] + "/nope"
    not_there = "no such file or directory"
    kind = errors.BaseNomadException if cluster else errors.URLNotFoundNomadException
    refused(kind, lambda: client.client.stat.stat_file(id_=where, path=nothing), not_there)


def logs():
    read = client.client.stream_logs.stream
    assert see(read(done["Alloc"], done["Task"], "stdout", plain=True)) == done["Stdout"]
    assert see(read(done["Alloc"], done["Task"], "stderr", plain=True)) == done["Stderr"]
    assert '"Data"' in see(read(done["Alloc"], done["Task"], "stderr"))
    refused(errors.BaseNomadException, lambda: read(done["Alloc"], "nope", "stdout", plain=True))


def stats():
    assert client.client.stats.read_stats(node_id=node_id)["Memory"]["Total"] > 0
    until(lambda: client.client.allocation.read_allocation_stats(talker["Alloc"])["Tasks"].get(talker["Task"]))


def talk():
    return client.client.stream_logs.stream(talker["Alloc"], talker["Task"], "stdout", plain=True)


def signal():
    see(client.client.allocation.signal_allocation(talker["Alloc"], "SIGUSR1", task=talker["Task"]))
    until(lambda: "USR1\n" in talk())


def restart():
    see(client.client.allocation.restart_allocation(talker["Alloc"]))
    until(lambda: "goodbye\n" in talk())


def evaluated(evaluation):
    completed = until(
        lambda: (one := client.evaluation.get_evaluation(evaluation)) and one["Status"] == "complete" and one
    )
    see(completed)


def stop():
    evaluated(client.allocation.stop_allocation(places["Ends"]["Alloc"])["EvalID"])


def collect():
    client.client.gc_allocation.garbage_collect(done["Alloc"])
    refused(errors.BaseNomadException, lambda: client.client.ls.list_files(id_=done["Alloc"], path="/"))
    seen.clear()  # it names a directory, or an allocation
    client.client.gc_all_allocations.garbage_collect(node_id=node_id)


def jobs():
    job = talker["Job"]
    assert job in client.jobs
    assert see(client.job.get_job(job))["TaskGroups"][0]["Name"] == talker["Group"]
    assert [one["ID"] for one in see(client.job.get_allocations(job))] == [talker["Alloc"]]
    refused(errors.URLNotFoundNomadException, lambda: client.job.get_job("no-such-job"))


def jobs_changed():
    name = talker["Job"] + "-new"
    task = {
        "Name": "idle",
        "Driver": "raw_exec",
        "Config": {"command": "/bin/sleep", "args": ["600"]},
        "Resources": {"CPU": 20, "MemoryMB": 20},
    }
    group = {"Name": "main", "Count": 1, "Tasks": [task]}
    job = {"Job": {"ID": name, "Name": name, "Type": "batch", "Datacenters": ["*"], "TaskGroups": [group]}}
    see(client.validate.validate_job(job).json())
    see(client.job.plan_job(name, job, diff=True)["Diff"])
    evaluated(client.job.register_job(name, job)["EvalID"])
    evaluated(client.job.deregister_job(name, purge=True)["EvalID"])
    refused(errors.URLNotFoundNomadException, lambda: client.job.get_job(name), "job not found")


def events():
    name = talker["Job"] + "-new"
    thread, ended, came = client.event.stream.get_stream(index=1, topic={"Job": name}, timeout=PATIENCE)
    thread.daemon = True  # it ends with the program: it looks at `ended` only after a line
    thread.start()
    told = None
    while told is None:  # its first event: python-nomad hears the last ones only when more come, of Nomad too
        keys = {event["Key"]: event["Type"] for event in came.get(timeout=PATIENCE)["Events"]}
        told = keys.get(name)
    assert see(told) == "JobRegistered"
    ended.set()


def whole():
    assert see(client.agent.get_members())["Members"][0]["Status"] == "alive"
    assert client.agent.get_agent()["member"]["Name"]
    assert client.status.leader.get_leader()
    assert see(client.regions.get_regions()) == ["global"]
    mine = talker["Alloc"]
    assert see(client.search.search(mine[:8], "allocs"))["Matches"]["allocs"] == [mine]
    assert places["Ends"]["Namespace"] in [one["Name"] for one in see(client.namespaces.get_namespaces())]
    assert see(client.acl.get_self_token())["AccessorID"]


def refusals():
    stranger = connect(UNKNOWN)
    kind = errors.BaseNomadException if cluster else errors.URLNotAuthorizedNomadException
    words = None if cluster else "Permission denied"
    refused(errors.URLNotAuthorizedNomadException, lambda: stranger.allocation.get_allocation(talker["Alloc"]))
    kept = len(seen)
    refused(kind, lambda: stranger.client.ls.list_files(id_=files_of["Alloc"], path="/"), words)
    del seen[kept:]  # Nomad words it by the route and the hop


checks = [nodes, allocation_documents, files, logs, stats, jobs, whole, refusals]
if cluster:
    checks += [jobs_changed, events]
failed = 0
for check in [*checks, signal, restart, stop, collect]:
    seen.clear()
    fault = ""
    try:
        check()
    except Exception as error:  # a check may fail in any way; each is told
        failed += 1
        fault = f"{type(error).__name__}: {error}"
    if show:
        print(json.dumps({"call": check.__name__, "fault": fault, "seen": seen}))
    else:
        print(f"FAIL {check.__name__}: {fault}" if fault else f"ok   {check.__name__}")
sys.stdout.flush()
os._exit(1 if failed else 0)
