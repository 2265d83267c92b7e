package routers

import (
	"net/http"

	"github.com/gin-gonic/gin"
)

// Any takes all methods. A middleware that calls ShouldBind, GetRawData or
// PostForm has read the body.
func withGin(pushes http.Handler) http.Handler {
	gin.SetMode(gin.ReleaseMode) // no list of routes
	router := gin.New()
	router.Use(gin.Recovery())
	router.Any("/wechat", gin.WrapH(pushes))
	return router
}

func Example_gin() {
	tryOut(withGin)
	// Output:
	// URL verification: <nil>
	// event: subscribe by o-ann at poster-7
	// answered: 200 at try 1
}
