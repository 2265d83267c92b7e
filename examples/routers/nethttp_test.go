package routers

import "net/http"

// A pattern without a method accepts all methods. The handler rejects all but
// GET and POST.
func withNetHTTP(pushes http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/wechat", pushes)
	return mux
}

func Example_netHTTP() {
	verifyAndPush(withNetHTTP)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// response: 200 after 1 try
}
