package web

import (
	"net"

	"github.com/gin-gonic/gin"
)

// ClientHeader is the request header in which the client's host says which address a request came
// from. It is believed on the app channel alone.
const ClientHeader = "Postbus-Client"

// GuestHeader is the request header in which the client's host says which guest's browser sent a
// request. It is believed on the app channel alone.
const GuestHeader = "Postbus-Guest"

// Receipt is the request header with which a guest shows to have written a comment.
const Receipt = "Receipt"

// clientKey is the key of the address in a gin context.
type clientKey struct{}

// guestKey is the key of the guest in a gin context.
type guestKey struct{}

// FromHost is the middleware of the app channel: ClientHeader says where a request came from, and
// GuestHeader whose it is. Without the first the request is another service's.
func FromHost(c *gin.Context) {
	c.Set(clientKey{}, c.GetHeader(ClientHeader))
	c.Set(guestKey{}, c.GetHeader(GuestHeader))
}

// Guest is the guest whose browser sent a request, or empty for a program's.
func Guest(c *gin.Context) string { return c.GetString(guestKey{}) }

// ClientAddress is the IP address that a request came from, or empty for another service's. It is
// that of the connection, or
// behind a proxy that the engine trusts the one in X-Forwarded-For.
func ClientAddress(c *gin.Context) string {
	if address, ok := c.Get(clientKey{}); ok {
		text, _ := address.(string)
		return text
	}
	if address := c.ClientIP(); address != "" {
		return address
	}
	host, _, _ := net.SplitHostPort(c.Request.RemoteAddr) // gin knows no zones
	return host
}
