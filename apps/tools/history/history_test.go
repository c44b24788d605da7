package history

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/postbus/postbus/apps/internal/eventlog"
)

// at is a position of the one log, and its event there.
func at(number uint64) eventlog.Position {
	return eventlog.Position{Sequence: number, Log: "log", Event: fmt.Sprint("event ", number)}
}

// another is a position of a log that began anew.
func another(number uint64) eventlog.Position {
	p := at(number)
	p.Log = "another log"
	return p
}

// events are those of the log with numbers in (after, upTo].
func events(after, upTo uint64) (all []Event) {
	for n := after + 1; n <= upTo; n++ {
		all = append(all, Event{n, at(n).Event, n})
	}
	return all
}

// view is a page with entities of revision 1.
func view(digest uint64, ids ...string) View {
	v := View{Entities: map[string]int{}, Digest: digest}
	for _, id := range ids {
		v.Entities[id] = 1
	}
	return v
}

func (h *History) command(key, request string, status int, answer string) {
	h.Command(key, request).Answered(status, answer)
}

func (h *History) read(reader string, least, stands uint64, v View) {
	h.Read(reader, "/posts", at(least)).Answered(at(stands), v)
}

func (h *History) readLog(replica string, after, upTo uint64) {
	h.ReadLog(replica, at(after)).Answered(at(upTo), events(after, upTo))
}

// histories are histories and what is said of them. Those that are fine have "".
var histories = map[string]struct {
	record func(*History)
	said   string
}{
	"no calls": {func(*History) {}, ""},

	"a repeat has the same answer": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("k", "a", 201, "1")
	}, ""},
	"a repeat has another answer": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("k", "a", 201, "2")
	}, "a command with a key happens once (key k"},
	"repeats at once have the same answer": {func(h *History) {
		first, second := h.Command("k", "a"), h.Command("k", "a")
		second.Answered(201, "1")
		first.Answered(201, "1")
	}, ""},
	"repeats at once have two answers": {func(h *History) {
		first, second := h.Command("k", "a"), h.Command("k", "a")
		second.Answered(201, "2")
		first.Answered(201, "1")
	}, "a command with a key happens once"},
	"another request is refused": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("k", "b", 422, "refused")
		h.command("k", "a", 201, "1")
	}, ""},
	"another request succeeds": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("k", "b", 201, "2")
	}, "a command with a key happens once"},
	"another request gets the first one's answer": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("k", "b", 201, "1")
	}, "a command with a key happens once"},
	"the first request is refused": {func(h *History) {
		h.command("k", "a", 422, "refused")
	}, "a command with a key happens once"},
	"a repeat is refused": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("k", "a", 422, "refused")
	}, "a command with a key happens once"},
	"one that timed out happens later": {func(h *History) {
		h.Command("k", "a")
		h.command("k", "a", 503, "")
		h.command("k", "a", 201, "1")
		h.command("k", "a", 201, "1")
	}, ""},
	"one that timed out has happened": {func(h *History) {
		h.Command("k", "b")
		h.command("k", "a", 422, "refused")
	}, ""},
	"one that timed out has not happened": {func(h *History) {
		h.Command("k", "b")
		h.command("k", "a", 201, "1")
		h.command("k", "b", 422, "refused")
	}, ""},
	"one that timed out happens when another had the key": {func(h *History) {
		h.Command("k", "b")
		h.command("k", "a", 201, "1")
		h.command("k", "b", 201, "2")
	}, "a command with a key happens once"},
	"a 422 because of one that was not sent yet": {func(h *History) {
		h.command("k", "a", 422, "refused")
		h.Command("k", "b")
	}, "a command with a key happens once"},
	"one is out of bounds": {func(h *History) {
		h.command("k", "a", 400, "refused")
		h.command("k", "b", 201, "1")
	}, ""},
	"two keys have one answer": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.command("l", "a", 201, "1")
	}, `the keys "k" and "l" have one answer`},
	"two keys are refused in the same words": {func(h *History) {
		h.command("k", "a", 503, "down")
		h.command("l", "a", 503, "down")
	}, ""},

	"a reader goes on": {func(h *History) {
		h.read("r", 0, 5, view(1, "a"))
		h.read("r", 5, 5, view(1, "a"))
		h.read("r", 5, 9, view(2, "a", "b"))
	}, ""},
	"a reader reads backwards": {func(h *History) {
		h.read("r", 0, 5, view(1, "a"))
		h.read("r", 0, 4, view(2))
	}, "a reader never reads backwards (reader r"},
	"a read is behind its min_sequence": {func(h *History) {
		h.read("r", 7, 6, view(1))
	}, "a reader never reads backwards (reader r"},
	"another reader is behind": {func(h *History) {
		h.read("r", 0, 5, view(1, "a"))
		h.read("q", 0, 4, view(2))
	}, ""},
	"reads at once are answered in any order": {func(h *History) {
		first, second := h.Read("r", "/posts", at(3)), h.Read("r", "/posts", at(3))
		second.Answered(at(6), view(2, "a"))
		first.Answered(at(5), view(1, "a"))
	}, ""},
	"a read has no answer": {func(h *History) {
		h.Read("r", "/posts", at(3))
		h.read("r", 0, 2, view(1))
	}, ""},
	"a position is not known any more": {func(h *History) {
		h.read("r", 0, 5, view(1))
		h.Read("r", "/posts", at(5)).Misfit()
	}, "a reader never reads backwards (reader r"},
	"a reader is in another log": {func(h *History) {
		h.read("r", 0, 5, view(1))
		h.Read("r", "/posts", at(5)).Answered(another(9), view(2))
	}, "a reader never reads backwards (reader r"},
	"what is read while the log loses its end says nothing": {func(h *History) {
		h.read("r", 0, 5, view(1, "a"))
		before := h.Read("r", "/posts", at(5))
		h.WhileTheLogLosesItsEnd(func() {
			before.Answered(at(4), view(2))
			h.read("r", 5, 3, view(3))
			h.Read("r", "/posts", at(5)).Misfit()
		})
		h.read("r", 0, 4, view(4))
	}, ""},
	"a reader reads backwards after the log has lost its end": {func(h *History) {
		h.WhileTheLogLosesItsEnd(func() {})
		h.read("r", 0, 5, view(1, "a"))
		h.read("r", 0, 4, view(2))
	}, "a reader never reads backwards (reader r, after 1 losses"},
	"a key is used twice while the log loses its end": {func(h *History) {
		h.command("k", "a", 201, "1")
		h.WhileTheLogLosesItsEnd(func() { h.command("k", "a", 201, "2") })
	}, "a command with a key happens once (key k"},
	"a page loses a comment": {func(h *History) {
		h.read("r", 0, 5, view(1, "a", "b"))
		h.read("q", 5, 6, view(2, "a", "c"))
	}, "a page shows what it showed before (page /posts"},
	"a page makes room": {func(h *History) {
		full := view(2, "b", "c")
		full.More = true
		h.read("r", 0, 5, view(1, "a", "b"))
		h.read("q", 5, 6, full)
	}, ""},
	"a comment is pending again": {func(h *History) {
		moderated := view(1, "a")
		moderated.Entities["a"] = 2
		h.read("r", 0, 5, moderated)
		h.read("q", 0, 7, view(2, "a"))
	}, "a page shows what it showed before"},
	"a replica that is behind shows less": {func(h *History) {
		h.read("r", 0, 7, view(2, "a", "b"))
		h.read("q", 0, 5, view(1, "a"))
	}, ""},
	"two replicas differ at one number": {func(h *History) {
		h.read("r", 0, 5, view(1, "a"))
		h.read("q", 0, 5, view(2, "a"))
	}, "a page shows what it showed before"},
	"a page is of another log": {func(h *History) {
		h.Read("r", "/posts", at(0)).Answered(at(5), view(1))
		h.Read("q", "/posts", at(0)).Answered(another(6), view(2))
	}, "a page shows what it showed before"},

	"the log grows": {func(h *History) {
		h.readLog("here", 0, 4)
		h.readLog("here", 4, 4)
		h.readLog("here", 4, 7)
		h.readLog("here", 2, 9)
	}, ""},
	"the log loses its end": {func(h *History) {
		h.readLog("here", 0, 4)
		h.readLog("here", 0, 3)
	}, "the log only grows (replica here"},
	"the log keeps events back": {func(h *History) {
		h.readLog("here", 0, 4)
		h.ReadLog("here", at(2)).Answered(at(4), nil)
	}, "the log only grows"},
	"the log has a gap": {func(h *History) {
		h.ReadLog("", at(0)).Answered(at(2), events(0, 2))
		h.ReadLog("here", at(2)).Answered(at(5), append(events(2, 3), events(4, 5)...))
	}, "the log only grows"},
	"the log gives more than it has": {func(h *History) {
		h.ReadLog("here", at(0)).Answered(at(2), events(0, 3))
	}, "the log only grows"},
	"the log does not know a position that it gave": {func(h *History) {
		h.readLog("here", 0, 4)
		h.ReadLog("here", at(4)).Misfit()
	}, "the log only grows"},
	"the log begins anew": {func(h *History) {
		h.readLog("here", 0, 4)
		h.ReadLog("here", at(0)).Answered(another(6), nil)
	}, "the log only grows"},
	"another replica knows less": {func(h *History) {
		h.readLog("here", 0, 4)
		h.readLog("there", 0, 3)
		h.readLog("", 0, 2)
	}, ""},
	"reads of the log at once": {func(h *History) {
		first, second := h.ReadLog("here", at(0)), h.ReadLog("here", at(0))
		second.Answered(at(5), events(0, 5))
		first.Answered(at(4), events(0, 4))
	}, ""},
	"an event changes": {func(h *History) {
		h.readLog("here", 0, 4)
		h.ReadLog("there", at(2)).Answered(at(3), []Event{{3, at(3).Event, 99}})
	}, "an event of the log never changes (event 3"},
	"an event is replaced": {func(h *History) {
		h.readLog("here", 0, 4)
		h.ReadLog("", at(3)).Answered(at(4), []Event{{4, "another event", 4}})
	}, "an event of the log never changes (event 4"},
	"query stands at another event": {func(h *History) {
		h.readLog("here", 0, 4)
		h.Read("r", "/posts", at(0)).Answered(eventlog.Position{Sequence: 4, Log: "log", Event: "another"}, view(1))
	}, "an event of the log never changes (event 4"},
	"the position of an earlier version is a number": {func(h *History) {
		h.readLog("here", 0, 4)
		h.Read("r", "/posts", eventlog.Position{Sequence: 4}).Answered(eventlog.Position{Sequence: 4}, view(1))
		h.read("r", 4, 5, view(2))
	}, ""},
}

func TestAPlantedViolationOfEachPromiseIsFound(t *testing.T) {
	for name, test := range histories {
		t.Run(name, func(t *testing.T) {
			h := New()
			test.record(h)
			err := h.Check("")
			if test.said == "" {
				if err != nil {
					t.Errorf("it is fine, and: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.said) {
				t.Errorf("nothing says %q: %v", test.said, err)
			}
		})
	}
}

// What is around a violation neither hides it nor is reported.
func TestAViolationIsFoundAmongManyCalls(t *testing.T) {
	h := New()
	const many = 1_000
	for i := range uint64(many) {
		key := fmt.Sprint(i)
		h.Command(key, "a")
		h.command(key, "a", 201, key)
		h.read("r", i, i+1, view(i))
		h.readLog("here", i, i+1)
	}
	if err := h.Check(""); err != nil {
		t.Fatal(err)
	}
	h.command("123", "a", 201, "another")
	h.readLog("here", 0, many-1)
	err := h.Check("")
	if err == nil {
		t.Fatal("nothing is found")
	}
	if n := strings.Count(err.Error(), "false: "); n != 2 || !strings.Contains(err.Error(), "(key 123, 3 calls)") || !strings.Contains(err.Error(), "(replica here, 1001 calls)") {
		t.Errorf("%d parts fail: %v", n, err)
	}
}

// Each try without an answer may come anywhere in the order of the others.
func TestManyTriesWithoutAnAnswerAreDecided(t *testing.T) {
	for answer, said := range map[string]string{"1": "", "2": "a command with a key happens once"} {
		h := New()
		h.command("k", "a", 201, "1")
		for range 200 {
			h.Command("k", "a")
			h.command("k", "b", 503, "")
		}
		h.command("k", "a", 201, answer)
		if err := h.Check(""); (err == nil) != (said == "") || err != nil && !strings.Contains(err.Error(), said) {
			t.Errorf("the second answer is %s: %v", answer, err)
		}
	}
}

func TestAViolationIsQuotedAndDrawn(t *testing.T) {
	h := New()
	for i := range uint64(10) {
		h.read("r", i, i+1, view(i))
	}
	h.read("r", 0, 4, view(3))
	err := h.Check(t.TempDir() + "/made")
	if err == nil {
		t.Fatal("nothing is found")
	}
	for _, quoted := range []string{"stands at 10/log/event%2010", "and then none of:\n", "stands at 4/log/event%204"} {
		if !strings.Contains(err.Error(), quoted) {
			t.Errorf("no %q in %v", quoted, err)
		}
	}
	m := regexp.MustCompile(`drawn in (\S+/reader-r\.html)`).FindStringSubmatch(err.Error())
	if m == nil {
		t.Fatalf("no file is named: %v", err)
	}
	raw, err := os.ReadFile(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if html := string(raw); !strings.Contains(html, "<html") || !strings.Contains(html, "stands at 4/log/event%204") {
		t.Errorf("the drawing is %.300q", html)
	}
}

func TestNoMoreThanAFewViolationsAreDrawn(t *testing.T) {
	h, folder := New(), t.TempDir()
	for i := range 20 {
		h.command(fmt.Sprint(i), "a", 422, "refused")
	}
	err := h.Check(folder)
	if err == nil || !strings.Contains(err.Error(), "and 15 more parts") {
		t.Errorf("%v", err)
	}
	if files, _ := os.ReadDir(folder); len(files) != maxShown {
		t.Errorf("%d files", len(files))
	}
}

func TestCallsAreRecordedByManyAtOnce(t *testing.T) {
	h := New()
	var all sync.WaitGroup
	for i := range uint64(8) {
		all.Go(func() {
			for n := range uint64(100) {
				key := fmt.Sprint(i, "-", n)
				h.command(key, "a", 201, key)
				h.read(fmt.Sprint(i), n, n+1, view(n))
				h.readLog(fmt.Sprint(i), n, n+1)
			}
		})
	}
	all.Wait()
	if err := h.Check(""); err != nil {
		t.Error(err)
	}
	if want := "800 tries of 800 commands, 800 reads by 8 readers, 800 reads of the log at 8 replicas, 100 events"; h.String() != want {
		t.Errorf("%s, want %s", h, want)
	}
}
