"""The only place where SI meets PyBullet's units (millimetre, gram, second).

With mm, g and s the derived units are: force uN, torque nN m, stress Pa, viscosity Pa s * 1,
density g/mm3, magnetic moment uA m2 (times tesla = nN m * 1e3; see `MOMENT`).
Multiply by a constant to go from SI to internal units, divide to come back.
"""

LENGTH = 1e3  # m -> mm
MASS = 1e3  # kg -> g
FORCE = 1e6  # N -> uN = g mm/s2
TORQUE = 1e9  # N m -> nN m = g mm2/s2
STRESS = 1.0  # Pa -> g/(mm s2)
VISCOSITY = 1.0  # Pa s -> g/(mm s)
DENSITY = 1e-6  # kg/m3 -> g/mm3
INERTIA = 1e9  # kg m2 -> g mm2
ACCELERATION = 1e3  # m/s2 -> mm/s2
SPEED = 1e3  # m/s -> mm/s
SPEED_LAPLACIAN = SPEED / LENGTH**2  # 1/(m s) -> 1/(mm s)
BENDING_STIFFNESS = 1e12  # N m2 -> uN mm2
FIELD_GRADIENT = 1e-3  # T/m -> T/mm
MOMENT = 1e9  # A m2 -> nN m/T

MU0 = 1.25663706127e-6  # T m/A, CODATA 2022
GRAVITY = 9.80665  # m/s2, standard gravity
