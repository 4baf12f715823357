import sys

from apps.vxlanctl import main

sys.exit(main())
