// Reference has the handlers that Postbus is compared with. Each does one thing and
// nothing else, with a real sidecar.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"

	dapr "github.com/dapr/go-sdk/client"
	"github.com/gin-gonic/gin"
)

const (
	component = "reference-bus"
	// published is a topic without subscribers.
	published = "reference-published"
	// hop and bulkHop are topics that this program receives: one in Dapr's default way,
	// message by message and as CloudEvents; the other as Postbus's own subscriptions do.
	hop, bulkHop = "reference-hop", "reference-bulk-hop"
	// eventLength is the length of a comment's event, in bytes.
	eventLength = 560
)

var message = []byte(`{"data":"` + strings.Repeat("x", eventLength-len(`{"data":""}`)) + `"}`)

type reference struct {
	dapr dapr.Client

	mu      sync.Mutex
	bytes   []byte
	waiting map[string]chan struct{} // by journey
}

// journey is a message that is published again until it has no hops left.
type journey struct {
	ID   string `json:"id"`
	Hops int    `json:"hops"`
	Bulk bool   `json:"bulk"`
}

func main() {
	gin.SetMode(gin.ReleaseMode)
	client, err := dapr.NewClientWithPort(os.Getenv("DAPR_GRPC_PORT"))
	if err != nil {
		log.Fatal(err)
	}
	r := &reference{dapr: client, waiting: map[string]chan struct{}{}}
	public, channel := gin.New(), gin.New()
	public.GET("/readyz", func(c *gin.Context) { c.Status(http.StatusOK) })
	public.POST("/publish", r.publish)
	public.GET("/bytes", r.read)
	public.PUT("/bytes", r.write)
	public.POST("/hops/:count", r.travel)
	channel.POST("/deliver/"+hop, r.deliver)
	channel.POST("/deliver/"+bulkHop, r.deliverBulk)
	go func() { log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("APP_PORT"), channel)) }() //nolint:gosec // a benchmark's
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), public))                               //nolint:gosec // as above
}

// publish is the bare command: one publish, then 201. The message is as long as an event,
// and the sidecar passes it on as raw bytes, like Postbus's.
func (r *reference) publish(c *gin.Context) {
	var in map[string]any
	if err := c.BindJSON(&in); err != nil {
		return
	}
	if err := r.dapr.PublishEvent(c.Request.Context(), component, published, message, dapr.PublishEventWithRawPayload()); err != nil {
		c.String(http.StatusServiceUnavailable, err.Error())
		return
	}
	c.JSON(http.StatusCreated, in)
}

// read is the bare read: bytes from memory.
func (r *reference) read(c *gin.Context) {
	r.mu.Lock()
	b := r.bytes
	r.mu.Unlock()
	c.Data(http.StatusOK, "application/json; charset=utf-8", b)
}

func (r *reference) write(c *gin.Context) {
	b, err := io.ReadAll(c.Request.Body)
	if err != nil {
		c.String(http.StatusBadRequest, err.Error())
		return
	}
	r.mu.Lock()
	r.bytes = b
	r.mu.Unlock()
	c.Status(http.StatusOK)
}

// travel answers when a message has made that many hops, in bulk if the query says so.
func (r *reference) travel(c *gin.Context) {
	hops, err := strconv.Atoi(c.Param("count"))
	if err != nil || hops < 1 {
		c.Status(http.StatusBadRequest)
		return
	}
	j := journey{ID: c.Query("id"), Hops: hops, Bulk: c.Query("bulk") == "true"}
	arrived := make(chan struct{})
	r.mu.Lock()
	r.waiting[j.ID] = arrived
	r.mu.Unlock()
	if err := r.send(c.Request.Context(), j); err != nil {
		c.String(http.StatusServiceUnavailable, err.Error())
		return
	}
	select {
	case <-arrived:
		c.Status(http.StatusOK)
	case <-c.Request.Context().Done():
	}
}

func (r *reference) send(ctx context.Context, j journey) error {
	if j.Bulk {
		return r.dapr.PublishEvent(ctx, component, bulkHop, j, dapr.PublishEventWithRawPayload())
	}
	return r.dapr.PublishEvent(ctx, component, hop, j)
}

const success, retry = "SUCCESS", "RETRY"

// deliver takes a delivery.
func (r *reference) deliver(c *gin.Context) {
	var in struct {
		Data journey `json:"data"`
	}
	if err := c.BindJSON(&in); err != nil {
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": r.goOn(c.Request.Context(), in.Data)})
}

// deliverBulk takes a bulk delivery.
func (r *reference) deliverBulk(c *gin.Context) {
	var in struct {
		Entries []struct {
			ID    string `json:"entryId"`
			Event []byte `json:"event"`
		} `json:"entries"`
	}
	if err := c.BindJSON(&in); err != nil {
		return
	}
	type status struct {
		ID     string `json:"entryId"`
		Status string `json:"status"`
	}
	var out struct {
		Statuses []status `json:"statuses"`
	}
	for _, e := range in.Entries {
		answer := success
		var j journey
		if err := json.Unmarshal(e.Event, &j); err != nil {
			log.Print(err)
		} else {
			answer = r.goOn(c.Request.Context(), j)
		}
		out.Statuses = append(out.Statuses, status{e.ID, answer})
	}
	c.JSON(http.StatusOK, out)
}

// goOn publishes a message for its next hop.
func (r *reference) goOn(ctx context.Context, j journey) (status string) {
	if j.Hops--; j.Hops == 0 {
		r.arrive(j.ID)
	} else if err := r.send(ctx, j); err != nil {
		return retry
	}
	return success
}

func (r *reference) arrive(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if arrived, ok := r.waiting[id]; ok {
		close(arrived)
		delete(r.waiting, id)
	}
}
