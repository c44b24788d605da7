package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/dapr/dapr/pkg/proto/runtime/v1"
	"github.com/google/uuid"
	"google.golang.org/grpc/codes"

	"github.com/postbus/postbus/apps/tools/system"
)

// routes are every delivery path, by service.
var routes = map[string][]string{
	"posts":      {"PostCreated"},
	"comments":   {"PostCreated", "CommentCreated", "CommentModerated"},
	"moderation": {"CommentCreated"},
	"query":      {"PostCreated", "CommentCreated", "CommentUpdated"},
	"eventlog":   {"PostCreated", "CommentCreated", "CommentModerated", "CommentUpdated", "dead-letters"},
}

// forged is a delivery that would put a post into the log if a service accepted it.
func forged(t *testing.T, topic string) (body, subject string) {
	t.Helper()
	event, subject := forgedEvent(t, topic)
	return envelopeOf(t, event), subject
}

// envelopeOf is the delivery of a message.
func envelopeOf(t *testing.T, message string) string {
	t.Helper()
	return jsonOf(t, map[string]any{"entries": []any{map[string]any{
		"entryId": "1", "event": base64.StdEncoding.EncodeToString([]byte(message)), "contentType": "application/octet-stream",
	}}})
}

// forgedEvent is a valid event of the topic that nobody has published.
func forgedEvent(t *testing.T, topic string) (event, subject string) {
	t.Helper()
	id := uuid.Must(uuid.NewV7()).String()
	entity := map[string]any{"id": id, "title": "forged", "body": "", "createdAt": time.Now(), "revision": 1}
	if topic != "PostCreated" {
		entity = map[string]any{
			"id": id, "postId": uuid.Must(uuid.NewV7()).String(), "content": "forged", "createdAt": time.Now(),
			"status": map[bool]string{true: "pending", false: "approved"}[topic == "CommentCreated"], "revision": 1,
		}
	}
	return jsonOf(t, map[string]any{
		"specversion": "1.0", "id": uuid.NewString(), "source": "/forger", "type": topic, "subject": id,
		"time": time.Now(), "datacontenttype": "application/json", "data": entity,
	}), id
}

func inLog(t *testing.T, s *stack, subject string) bool {
	t.Helper()
	for _, e := range events(t, s.App("eventlog")) {
		if e.Subject == subject {
			return true
		}
	}
	return false
}

func TestNobodyCanForgeADelivery(t *testing.T) {
	for service, topics := range routes {
		for _, topic := range topics {
			body, subject := forged(t, topic)
			want(t, 404, "POST", shared.url(service, "/deliver/"+topic), body)
			for _, caller := range system.Services {
				if caller == service {
					continue // an app can call itself, and only harm itself
				}
				invoke := shared.App(caller).Sidecar() + "/v1.0/invoke/" + shared.App(service).ID + "/method/deliver/" + topic
				wantInvoked(t, 403, "POST", invoke, body)
				// A caller header of the client's own gives the app two, in any order.
				wantInvoked(t, 403, "POST", invoke, body, "Dapr-Caller-App-Id: ")
			}
			if inLog(t, shared, subject) {
				t.Errorf("%s took a forged %s", service, topic)
			}
		}
	}
	// Without the guard: the same request on the channel without a caller is what the
	// sidecar sends, and it is accepted.
	body, subject := forged(t, "PostCreated")
	channel := fmt.Sprintf("http://127.0.0.1:%d/deliver/PostCreated", shared.App("eventlog").AppPort)
	want(t, 403, "POST", channel, body, "Dapr-Caller-App-Id: posts")
	if r := want(t, 200, "POST", channel, body); !strings.Contains(string(r.body), "SUCCESS") || !inLog(t, shared, subject) {
		t.Errorf("the request does not succeed even without the guard: %s", r)
	}
}

// wantInvoked expects a status from the app. A sidecar calls a replica of an earlier test
// for up to 5 s after its end.
func wantInvoked(t *testing.T, status int, method, url, body string, headers ...string) {
	t.Helper()
	var r response
	eventually(t, func() (err error) {
		if r, err = do(method, url, body, headers...); err == nil && strings.Contains(string(r.body), "ERR_DIRECT_INVOKE") {
			return errors.New(r.String())
		}
		return err
	})
	if r.status != status {
		t.Errorf("%s %s: %s, want %d", method, url, r, status)
	}
}

func TestEveryPortIsBoundToLoopback(t *testing.T) {
	outside := outsideAddress(t)
	// A service that listens on every interface shows that the address is reachable.
	b := shared.replica(t, "posts", "HOST=*")
	want(t, 200, "GET", fmt.Sprintf("http://%s:%d/healthz", outside, b.Port), "")
	for _, a := range append(slices.Clone(shared.Apps), b) {
		if got := system.Listeners(a.AppPort); a.Name != system.Issuer && (len(got) != 1 || got[0] != "127.0.0.1") {
			t.Errorf("%s's channel listens at %v", a.Name, got)
		}
		ports := map[string]int{"public port": a.Port}
		if a.Port == b.Port {
			delete(ports, "public port")
		}
		maps.Copy(ports, map[string]int{
			"app channel": a.AppPort, "sidecar's HTTP API": a.HTTPPort, "sidecar's gRPC API": a.GRPCPort,
			"port for other sidecars": a.InternalPort, "sidecar's metrics": a.MetricsPort,
		})
		for what, port := range ports {
			if conn, err := net.DialTimeout("tcp", fmt.Sprintf("%s:%d", outside, port), time.Second); err == nil {
				_ = conn.Close()
				t.Errorf("%s's %s can be reached at %s", a.Name, what, outside)
			}
		}
	}
}

// outsideAddress is an address of this machine outside 127.0.0.0/8 or, without one, a
// loopback address on which no channel listens.
func outsideAddress(t *testing.T) string {
	t.Helper()
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	return "127.0.0.2"
}

// publish publishes an event by an app's sidecar.
func publish(t *testing.T, s *stack, app, topic string) error {
	t.Helper()
	event := jsonOf(t, map[string]any{
		"specversion": "1.0", "id": uuid.NewString(), "source": "/forger", "type": topic, "subject": "x", "data": map[string]any{},
	})
	_, err := sidecarOf(t, s.App(app)).PublishEvent(t.Context(), &pb.PublishEventRequest{
		PubsubName: "bus", Topic: topic, Data: []byte(event), DataContentType: "application/cloudevents+json",
	})
	return err
}

// publisherOf is the app that may publish an event.
var publisherOf = map[string]string{
	"PostCreated": "posts", "CommentCreated": "comments", "CommentModerated": "moderation", "CommentUpdated": "comments",
}

func TestOnlyItsPublisherCanPublishAnEvent(t *testing.T) {
	for topic, publisher := range publisherOf {
		for _, app := range system.Services {
			if app == publisher {
				continue
			}
			err := publish(t, shared, app, topic)
			if slices.Contains(onTheBus, app) {
				wantRefused(t, app+" publishes "+topic, err, "is not allowed for app id", codes.PermissionDenied)
			} else { // it does not even have the bus
				wantRefused(t, app+" publishes "+topic, err, "pubsub bus is not", codes.InvalidArgument, codes.FailedPrecondition)
			}
		}
	}
}

func TestAnAppCanNotReadAnothersStore(t *testing.T) {
	for _, owner := range system.Services {
		for _, app := range system.Services {
			_, err := sidecarOf(t, shared.App(app)).GetState(t.Context(), &pb.GetStateRequest{StoreName: owner + "-store", Key: "x"})
			switch what := app + " reads the store of " + owner; {
			case app != owner:
				wantRefused(t, what, err, owner+"-store is not", codes.InvalidArgument, codes.FailedPrecondition)
			case err != nil:
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// TestTheScopesAreWhatGuards removes the scopes, and shows that what they refused then
// succeeds.
func TestTheScopesAreWhatGuards(t *testing.T) {
	s := another(t, func(resource system.Document) {
		meta, _ := resource["metadata"].(system.Document)
		spec, _ := resource["spec"].(system.Document)
		switch {
		case resource["kind"] != "Component":
		case meta["name"] == "bus":
			var kept []any
			for _, f := range spec["metadata"].([]any) { //nolint:forcetypeassert,errcheck // the committed file has it
				if name := f.(system.Document)["name"]; name != "publishingScopes" && name != "protectedTopics" { //nolint:forcetypeassert,errcheck // as above
					kept = append(kept, f)
				}
			}
			spec["metadata"] = kept
		default:
			delete(resource, "scopes")
		}
	}, built.binaries)
	if err := publish(t, s, "posts", "CommentModerated"); err != nil {
		t.Errorf("posts publishes CommentModerated without scopes: %v", err)
	}
	if _, err := sidecarOf(t, s.App("posts")).GetState(t.Context(), &pb.GetStateRequest{StoreName: "comments-store", Key: "x"}); err != nil {
		t.Errorf("posts reads the store of comments without scopes: %v", err)
	}
}

func TestTheAppTokenGuardsTheChannel(t *testing.T) {
	b := shared.replica(t, "posts", "APP_API_TOKEN=secret")
	body, _ := forged(t, "PostCreated")
	channel := fmt.Sprintf("http://127.0.0.1:%d", b.AppPort)
	want(t, 401, "POST", channel+"/deliver/PostCreated", body)
	want(t, 401, "POST", channel+"/posts/create", `{"title":"x"}`, "dapr-api-token: wrong")
	want(t, 200, "POST", channel+"/deliver/PostCreated", body, "dapr-api-token: secret")
}
