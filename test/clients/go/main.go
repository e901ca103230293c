// The official Go SDK, unmodified: every call a program makes, with what it must give. NOMAD_ADDR and NOMAD_TOKEN are read
// as the SDK reads them, `-places` says what is there (see Places). Prints one line a check and exits 1 when one fails;
// with `-show` the line is a document that has what the calls gave.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/nomad/api"
)

const patience = 20 * time.Second

// Places are what the calls are made about.
type Places struct {
	Node string
	// Task writes numbered lines ("line 1"), "got" at SIGUSR1 and "goodbye" at its end.
	Talker struct{ Alloc, Job, Group, Task string }
	// Path is one of Files, which are in Directory; each with its content. Large has 64 MiB.
	Files struct {
		Alloc, Directory, Path, Large string
		Contents                      map[string]string
	}
	// One that has ended, and what it said.
	Done struct{ Alloc, Task, Stdout, Stderr string }
	// One that may be stopped.
	Ends struct{ Alloc, Namespace string }
	// Of an allocation with checks; "" for none.
	Service string
	// There is a scheduler: jobs are changed, events and agents' logs are followed.
	Cluster bool
}

type check struct {
	name    string
	run     func(*world) error
	cluster bool
}

type world struct {
	Places
	client *api.Client
	seen   []any
	allocs map[string]*api.Allocation
}

var checks = []check{
	{name: "agent self", run: agentSelf},
	{name: "agent monitor, and let go", run: monitor, cluster: true},
	{name: "token self", run: tokenSelf},
	{name: "nodes list and info", run: nodes},
	{name: "node metadata apply and read", run: nodeMeta},
	{name: "node stats", run: nodeStats},
	{name: "node allocations", run: nodeAllocations},
	{name: "allocations list and info", run: allocations},
	{name: "allocation info, blocking", run: blocking},
	{name: "fs list", run: fsList},
	{name: "fs stat", run: fsStat},
	{name: "fs cat", run: fsCat},
	{name: "fs readat", run: fsReadAt},
	{name: "fs stream", run: fsStream},
	{name: "fs of what is not there", run: fsMissing},
	{name: "a large file, to the byte", run: fsLarge},
	{name: "logs", run: logs},
	{name: "logs followed, and let go", run: logsFollow},
	{name: "exec without terminal, with stdin", run: execPlain},
	{name: "exec with terminal and size", run: execTerminal},
	{name: "exec in a task that is not there", run: execMissing},
	{name: "allocation stats", run: allocStats},
	{name: "services and checks", run: services},
	{name: "search", run: search},
	{name: "jobs list and info", run: jobs},
	{name: "jobs plan, register and deregister", run: jobsChange, cluster: true},
	{name: "events", run: events, cluster: true},
	{name: "signal", run: signal},
	{name: "restart", run: restart},
	{name: "stop and its evaluation", run: stop},
	{name: "collect an allocation, and a node", run: collect},
	{name: "a token that is none", run: badToken},
}

func main() {
	places := flag.String("places", "", "what is there, as JSON")
	show := flag.Bool("show", false, "print what the calls gave, as JSON")
	flag.Parse()
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		fmt.Println("no client:", err)
		os.Exit(1)
	}
	w := &world{client: client, allocs: map[string]*api.Allocation{}}
	if err := json.Unmarshal([]byte(*places), &w.Places); err != nil {
		fmt.Println("-places:", err)
		os.Exit(1)
	}
	failed := 0
	for _, c := range checks {
		if c.cluster && !w.Cluster {
			continue
		}
		w.seen = []any{}
		began := time.Now()
		err := c.run(w)
		if err != nil {
			failed++
		}
		tell(c.name, err, time.Since(began), w.seen, *show)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func tell(name string, fault error, took time.Duration, seen []any, show bool) {
	words := ""
	if fault != nil {
		words = fault.Error()
	}
	switch {
	case show:
		line, err := json.Marshal(map[string]any{"call": name, "fault": words, "seen": seen})
		if err != nil {
			panic(err)
		}
		fmt.Println(string(line))
	case fault != nil:
		fmt.Printf("FAIL %s: %s\n", name, words)
	default:
		fmt.Printf("ok   %s (%d ms)\n", name, took.Milliseconds())
	}
}

// see keeps what a call gave.
func (w *world) see(values ...any) {
	for _, value := range values {
		if err, is := value.(error); is {
			value = err.Error()
		}
		w.seen = append(w.seen, value)
	}
}

func (w *world) alloc(id string) (*api.Allocation, error) {
	if known := w.allocs[id]; known != nil {
		return known, nil
	}
	alloc, _, err := w.client.Allocations().Info(id, nil)
	if err == nil {
		w.allocs[id] = alloc
	}
	return alloc, err
}

func want(what string, is bool, seen any) error {
	if is {
		return nil
	}
	return fmt.Errorf("%s: saw %v", what, seen)
}
