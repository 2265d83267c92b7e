package routers

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// Any accepts all methods. Do not use middleware that reads the body with
// ShouldBind, GetRawData or PostForm.
func withGin(pushes http.Handler) http.Handler {
	gin.SetMode(gin.ReleaseMode) // no list of routes
	router := gin.New()
	router.Use(gin.Recovery())
	router.Any("/wechat", gin.WrapH(pushes))
	return router
}

func Example_gin() {
	verifyAndPush(withGin)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// response: 200 after 1 try
}
