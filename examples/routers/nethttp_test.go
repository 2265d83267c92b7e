package routers

import "net/http"

// A pattern without a method takes GET and POST, and leaves the others to the
// handler, which answers 405.
func withNetHTTP(pushes http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/wechat", pushes)
	return mux
}

func Example_netHTTP() {
	tryOut(withNetHTTP)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// answered: 200 at try 1
}
